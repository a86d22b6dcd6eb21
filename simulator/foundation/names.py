"""The nearest known name to a misspelt one, and a short list of what is known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `word`, or None when nothing is close.

    Letters differing only in case, or ``-`` against ``_``, win over everything else.

    Examples
    --------
    >>> nearest("shortst-first", ["fcfs", "easy", "shortest-first"])
    'shortest-first'
    >>> nearest("Gpus_Per_Node", ["nodes", "gpus-per-node"])
    'gpus-per-node'
    >>> nearest("banana", ["nodes", "link"]) is None
    True
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(_fold(name), name)
    target = _fold(word)
    if target in folded:
        return folded[target]
    # difflib costs milliseconds to import and is needed only when something is wrong already.
    from difflib import get_close_matches

    found = get_close_matches(target, list(folded), n=1, cutoff=0.6)
    if found:
        return folded[found[0]]
    # A cut-off or lengthened word ("chiller" for "air-chiller") shares no high ratio, but a part.
    parts = [
        name
        for name in folded
        if len(target) >= 3 and (target in name or (len(name) >= 3 and name in target))
    ]
    return folded[min(parts, key=lambda name: (abs(len(name) - len(target)), name))] if parts else None


def known_list(known: Iterable[str], limit: int = 12) -> str:
    """Return the known names, comma separated, cut after `limit`.

    Examples
    --------
    >>> known_list(["fcfs", "sjf", "easy"], limit=2)
    'fcfs, sjf, and 1 more'
    """
    names = list(known)
    if len(names) <= limit:
        return ", ".join(names) if names else "nothing"
    return f"{', '.join(names[:limit])}, and {len(names) - limit} more"


def hint(word: str, known: Iterable[str], limit: int = 12) -> str:
    """Return "did you mean 'x'? known: x, y, z", for the second line of an error.

    Examples
    --------
    >>> hint("gpus_per_nod", ["nodes", "gpus_per_node"])
    "did you mean 'gpus_per_node'? known: nodes, gpus_per_node"
    """
    names = list(known)
    close = nearest(word, names)
    listed = f"known: {known_list(names, limit)}"
    return f"did you mean '{close}'? {listed}" if close else listed


def _fold(name: str) -> str:
    return name.casefold().replace("_", "-")
