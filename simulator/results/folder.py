"""A run folder is either whole or visibly not: written beside its place, then moved there."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from simulator.foundation.errors import RunFolderError

#: Lies in a folder from its first moment until every file is there.
MARK: Final = "INCOMPLETE"

#: The file that makes a folder a run folder; written last.
IDENTITY: Final = "run.json"


class RunFolder:
    """A run folder being written.

    Files go to ``path``, a hidden sibling ``.NAME.incomplete-PID-N`` that holds a file
    ``INCOMPLETE``. :meth:`finish` takes the mark away and moves the folder to its name in one step.
    Leaving the ``with`` block by an exception removes the sibling; a killed process leaves it
    behind, marked.

    Parameters
    ----------
    target
        Where the finished folder shall stand.

    Raises
    ------
    RunFolderError
        If something that is not a run folder stands there already, or nothing can be written.
    """

    def __init__(self, target: Path) -> None:
        self.target = Path(os.path.abspath(target))
        refuse_foreign(self.target)
        #: Folders above that were not there before, the innermost first.
        self._made = [parent for parent in self.target.parents if not parent.exists()]
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path = _fresh_sibling(self.target, "incomplete")
            (self.path / MARK).write_text(
                "This run was not finished (killed, or still running): nothing here is valid.\n",
                encoding="utf-8",
            )
        except OSError as error:
            raise RunFolderError(
                f"{self.target}: cannot write a run folder here: {error.strerror or error}"
            ) from error
        self.finished = False

    def finish(self) -> Path:
        """Move the folder to its name, in place of an earlier run of that name.

        Returns
        -------
        Path
            The finished folder.

        Raises
        ------
        RunFolderError
            If the folder cannot be moved; what was written stays in the marked sibling.
        """
        old: Path | None = None
        try:
            if self.target.exists():
                refuse_foreign(self.target)
                old = _fresh_sibling(self.target, "replaced")
                os.replace(self.target, old / "run")
            (self.path / MARK).unlink()
            os.replace(self.path, self.target)
        except OSError as error:
            if old is not None and not self.target.exists() and (old / "run").exists():
                os.replace(old / "run", self.target)
                old.rmdir()
            raise RunFolderError(
                f"{self.target}: cannot put the finished run here: {error.strerror or error}"
            ) from error
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        self.finished = True
        return self.target

    def discard(self) -> None:
        """Remove what was written so far, and the folders above that were made for it."""
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in self._made:
            try:
                parent.rmdir()
            except OSError:
                return  # something else lies in it by now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.finished:
            self.discard()


def refuse_foreign(target: Path) -> None:
    """Raise RunFolderError if ``target`` exists and is neither a run folder nor empty."""
    if not target.exists():
        return
    if not target.is_dir():
        raise RunFolderError(f"{target}: is a file; name a folder for the run with -o DIR")
    if (target / IDENTITY).exists() or (target / MARK).exists():
        return
    if any(target.iterdir()):
        raise RunFolderError(
            f"{target}: holds files that are not a run's (no {IDENTITY}); nothing was "
            "overwritten. Name another folder with -o DIR"
        )


def refuse_unfinished(path: Path) -> None:
    """Raise RunFolderError unless ``path`` is a finished run folder."""
    if not path.exists():
        raise RunFolderError(f"{path}: there is no such run folder")
    if not path.is_dir():
        raise RunFolderError(f"{path}: is a file; expected a run folder (it holds {IDENTITY})")
    if (path / MARK).exists() or ".incomplete-" in path.name:
        raise RunFolderError(
            f"{path}: this run is incomplete (killed, or still running); "
            "it is not read. Run the scenario again"
        )
    if not (path / IDENTITY).exists():
        raise RunFolderError(f"{path}: is not a run folder: it holds no {IDENTITY}")


def _fresh_sibling(target: Path, word: str) -> Path:
    number = 0
    while True:
        path = target.parent / f".{target.name}.{word}-{os.getpid()}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def unfinished(target: Path) -> list[Path]:
    """Return what runs into the same folder left behind when they were killed, or are writing now."""
    target = Path(os.path.abspath(target))
    pattern = f".{glob.escape(target.name)}.incomplete-*"
    return sorted(path for path in target.parent.glob(pattern) if (path / MARK).is_file())
