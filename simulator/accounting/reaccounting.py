"""May a finished run be accounted under other signals? Only if nothing in it hung on the old ones."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.accounting.books import SiteBooks
from simulator.foundation.errors import AccountingRefusal
from simulator.foundation.step_series import StepSeries
from simulator.telemetry.record import Record, SignalRead


def refuse_if_read(record: Record, before: Mapping[str, SiteBooks], after: Mapping[str, SiteBooks]) -> None:
    """Raise if a decision of the run read, or a limit hung on, what the new books change.

    A called limit and failed cooling act on IT power through plant and weather: after them
    another climate or plant would have let other jobs run.

    Parameters
    ----------
    record
        What happened, with `signals_read`.
    before
        The books that the run was made with.
    after
        The books wanted now.

    Raises
    ------
    AccountingRefusal
        The message names every such site, signal and reader, and says to run again.
    """
    changed = [
        _said(read)
        for read in record.signals_read
        if _differs(read.signal, before[read.site], after[read.site])
    ]
    for code, site in enumerate(record.sites):
        old, new = before[site.name], after[site.name]
        if old.physics == new.physics and _air(old) == _air(new):
            continue
        if code in record.limits:
            changed.append(f"a called limit at {site.name} hung on plant and weather, which change")
        if code in record.thermal:
            changed.append(f"failed cooling at {site.name} hung on plant and weather, which change")
    if changed:
        raise AccountingRefusal(
            "the run would have gone differently, so re-accounting would be wrong: "
            + "; ".join(changed)
            + ". Run the scenario again with the new signal"
        )


def _said(read: SignalRead) -> str:
    return f"{read.reader} read {read.signal} of {read.site}, which changes"


def _differs(signal: str, before: SiteBooks, after: SiteBooks) -> bool:
    old, new = _signals(before), _signals(after)
    if signal in old or signal in new:
        return old.get(signal) != new.get(signal)
    # A name nobody here knows may be made of anything: then nothing may change.
    return old != new


def _signals(books: SiteBooks) -> dict[str, StepSeries]:
    """Return everything of a site that a policy can read, by name."""
    return books.signals.series() | _air(books)


def _air(books: SiteBooks) -> dict[str, StepSeries]:
    return {"dry_bulb_c": books.weather.dry_bulb, "wet_bulb_c": books.weather.wet_bulb}
