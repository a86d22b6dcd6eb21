"""Models named by a ``config.json``: read where they are named, kept in the scenario's own catalog."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from simulator.catalog.hugging_face import SUFFIX, model_fields, model_name
from simulator.foundation.errors import CatalogError, Problem
from simulator.scenario.said import Route, Said, SaidList, SaidMap, problem_at

_BLOCK: Final = "catalog"
_KIND: Final = "models"


def with_model_files(root: SaidMap) -> tuple[SaidMap, list[Problem]]:
    """Return what was said with each ``model: FILE.json`` turned into an entry of ``catalog.models``.

    The resolved scenario then holds the shape itself and needs the file no more.
    """
    workloads = root.get("workloads")
    if not isinstance(workloads, SaidList):
        return root, []
    problems: list[Problem] = []
    kept = SaidList(workloads.place, workloads)
    changed = root
    for index, work in enumerate(workloads):
        said = work.get("model") if isinstance(work, SaidMap) else None
        if not (isinstance(said, Said) and said.endswith(SUFFIX)):
            continue
        route: Route = ("workloads", index, "model")
        path = said.folder / str(said)
        try:
            fields = model_fields(path)
        except CatalogError as error:
            told, _, hint = str(error).partition("\n")
            problems.append(problem_at(root, route, told, hint.strip()))
            continue
        name = model_name(path)
        twin = work.copy()
        twin["model"] = Said.at(name, said.place)
        kept[index] = twin
        changed = _with_entry(changed, name, fields, path, said)
    if changed is not root:
        changed["workloads"] = kept
    return changed, problems


def _with_entry(root: SaidMap, name: str, fields: dict[str, Any], path: Path, said: Said) -> SaidMap:
    """Return what was said with one more entry; an entry of that name that is there wins by field."""
    changed = root.copy()
    block = _below(changed, _BLOCK, said)
    models = _below(block, _KIND, said)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    texts = {"source": "scenario", "basis": "vendor", "note": f"{path.name}, sha256 {digest}"}
    texts |= {key: _text(value) for key, value in fields.items()}
    entry = SaidMap(said.place)
    for key, text in texts.items():
        entry.put(key, Said.at(text, said.place, quoted=key in ("note", "title")), said.place)
    written = models.get(name)
    if isinstance(written, SaidMap):
        for key, value in written.items():
            entry.put(key, value, written.key_places[key])
    models.put(name, entry, said.place)
    return changed


def _below(parent: SaidMap, key: str, said: Said) -> SaidMap:
    """Return a copy of the mapping under a key, put in its place."""
    old = parent.get(key)
    new = old.copy() if isinstance(old, SaidMap) else SaidMap(said.place)
    parent.put(key, new, parent.key_places.get(key, said.place))
    return new


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
