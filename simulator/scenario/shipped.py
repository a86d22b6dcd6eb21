"""Finding a scenario: a file, or the name of one that travels with datahall."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from simulator.foundation.errors import Problem, ScenarioError
from simulator.foundation.names import hint

_HERE: Final = Path(__file__).parent
#: In the wheel the scenario files lie in this room; in the repository at its top.
_PLACES: Final = (_HERE / "shipped", _HERE.parent.parent / "scenarios")


def folder() -> Path:
    """Return the folder of the shipped scenarios."""
    return next((place for place in _PLACES if place.is_dir()), _PLACES[0])


def names() -> list[str]:
    """Return the names of the shipped scenarios, such as ``training/llama3-405b``."""
    home = folder()
    return sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))


def path_of(name: str) -> Path | None:
    """Return the file of a shipped scenario, or None if there is none of that name.

    The last part of a name is enough where only one scenario has it: ``llama3-405b``.
    """
    bare, known = name.removesuffix(".yaml"), names()
    found = [bare] if bare in known else [other for other in known if other.rpartition("/")[2] == bare]
    return folder() / f"{found[0]}.yaml" if len(found) == 1 else None


def locate(source: str | Path) -> tuple[Path, str]:
    """Return the file that a path or a shipped name means, and what messages call it.

    A file's ``.yaml`` may be left out; a run folder means its ``run.json``.

    Raises
    ------
    ScenarioError
        Neither exists; the message gives the nearest shipped name.
    """
    path = Path(source)
    text = str(source)
    try:
        if path.is_file():
            return path, text
        beside = path.with_name(f"{path.name}.yaml") if path.name else path
        if beside.is_file():
            return beside, str(beside)
        if path.is_dir() and (path / "run.json").is_file():
            return path / "run.json", str(path / "run.json")
        is_folder = path.is_dir()
    except (OSError, ValueError):
        is_folder = False
    shipped = path_of(text) if not path.is_absolute() and "\0" not in text else None
    if shipped is not None:
        return shipped, f"{shipped.relative_to(folder()).as_posix()}"
    what = "is a folder without a run.json" if is_folder else "no such file or shipped scenario"
    raise ScenarioError([Problem(what, text, hint=hint(text, names()))])
