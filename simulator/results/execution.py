"""From a scenario to a finished run folder: simulate, account, audit, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator import __version__
from simulator.results.finished_run import Run
from simulator.results.folder import IDENTITY, RunFolder
from simulator.results.parquet import ParquetSink
from simulator.telemetry import TABLES, Record

if TYPE_CHECKING:
    from simulator.accounting import Books
    from simulator.scenario import Scenario


def execute(
    scenario: Scenario,
    *,
    out: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """Run a scenario into a folder and return the finished run.

    Parameters
    ----------
    scenario
        As `simulator.load` returns it.
    out
        The run folder; ``runs/NAME-HASH`` below the current one if not given. An earlier run of
        that name is replaced when the new one is whole; anything else there is left alone.
    progress
        Called now and then with the simulated time. [s]

    Raises
    ------
    RunFolderError
        Nothing can be written there.
    AuditError
        The books do not balance: a bug.
    """
    from simulator.accounting import measure, read_meters, require_balance, settle
    from simulator.engine import simulate
    from simulator.results.book_inputs import book_rules, priced, site_books
    from simulator.results.provenance import Stopwatch, run_json, write_json
    from simulator.results.sensitivity import carbon_by_factor_set, what_moves_most
    from simulator.results.summary import summary, summary_meta
    from simulator.results.trace import write_trace
    from simulator.scenario.assumptions import as_csv_text

    watch = Stopwatch()
    target = Path(out) if out is not None else Path("runs") / f"{scenario.label}-{scenario.hash[:6]}"
    stamp = {"scenario_hash": scenario.hash, "datahall": __version__}
    with RunFolder(target) as folder:
        pools = [pool.name for site in scenario.sites for pool in site.pools]
        sink = ParquetSink(folder.path, [site.name for site in scenario.sites], pools, stamp)
        try:
            report = None if progress is None else _one_argument(progress)
            record = priced(scenario, simulate(scenario, sink, report))
            watch.lap("simulate")

            sites, rules = site_books(scenario, record.horizon_s), book_rules(scenario)
            metered = read_meters(measure(record), sites)
            books = settle(metered, sites, rules)
            require_balance(books)
            by_factors = carbon_by_factor_set(scenario, metered, sites, rules)
            moves = what_moves_most(books, metered, sites, rules, by_factors)
            watch.lap("account")

            write_tables(sink, record, books)
            sink.close()
        except BaseException:
            sink.abandon()
            raise
        _keep_record(folder.path, record, stamp)
        numbers = summary(record, books)
        ranges = (
            {"location_tco2e": (min(by_factors.values()), max(by_factors.values()))} if by_factors else {}
        )
        write_json(folder.path / "summary.json", numbers)
        write_json(folder.path / "summary_meta.json", summary_meta(numbers, books, ranges))
        (folder.path / "assumptions.csv").write_text(as_csv_text(scenario), encoding="utf-8", newline="\n")
        write_trace(folder.path / "trace.json.gz", record, books)
        more = {"books": {"factor_set_tco2e": by_factors}, "sensitivity": moves}
        watch.lap("write")
        write_json(folder.path / "host.json", watch.host_json(record))
        write_json(folder.path / IDENTITY, run_json(scenario, record, books, sink.rows, more))
        return Run(folder.finish())


def run(scenario: Scenario, *, out: str | Path | None = None) -> Run:
    """Run a scenario, as :func:`execute` does, for use as a library: ``simulator.run(scenario)``."""
    return execute(scenario, out=out)


def write_tables(sink: ParquetSink, record: Record, books: Books) -> None:
    """Write the tables that are known only at the end."""
    from simulator.accounting.gpu_time import gpu_time
    from simulator.results.occupancy import occupancy_rows

    sink.write("jobs", job_rows(record, books))
    sink.write("occupancy", occupancy_rows(record))
    sink.write("gpu_time", gpu_time(record))
    for service in record.services:
        if service.hourly:
            sink.write("services_hourly", service.hourly)
        if service.histogram:
            sink.write("latency_histogram", service.histogram)
    for account in books.sites:
        for component, series in account.power.items():
            count = len(series)
            changed = np.append(True, series.value[1:] != series.value[:-1])[:count]
            times = series.start_s[changed]
            sink.write(
                "power",
                {
                    "site": (np.zeros(len(times), dtype=np.int32), (account.name,)),
                    "component": (np.zeros(len(times), dtype=np.int32), (component,)),
                    "time_s": times,
                    "power_w": series.value[changed],
                },
            )
        hours = len(account.hourly["start_s"])
        names = (np.zeros(hours, dtype=np.int32), (account.name,))
        columns = {name: account.hourly[name] for name in TABLES["hourly"].names if name != "site"}
        sink.write("hourly", {"site": names, **columns})


def job_rows(record: Record, books: Books) -> dict[str, Any]:
    """Return the columns of ``jobs``: every job, then one row of kind ``idle`` for each pool."""
    jobs = record.jobs
    pools = record.pools
    idle = len(pools)
    nothing = np.full(idle, np.nan)
    places = [(record.sites[pool.site].name, pool.name, pool.node.gpu_type) for pool in pools]
    never = ("", "", "")
    of_job = [places[code] if code >= 0 else never for code in np.asarray(jobs.pool).tolist()]
    texts = {
        "job_id": [*jobs.job_id, *(f"idle/{site}.{pool}" for site, pool, _ in places)],
        "kind": [*jobs.kind, *(["idle"] * idle)],
        "tenant": [*jobs.tenant, *([""] * idle)],
        "queue": [*jobs.queue, *([""] * idle)],
        "model": [*jobs.model, *([""] * idle)],
        "state": [*jobs.state, *(["idle"] * idle)],
        "mfu_convention": [*jobs.mfu_convention, *([""] * idle)],
        "site": [place[0] for place in (*of_job, *places)],
        "pool": [place[1] for place in (*of_job, *places)],
        "gpu_type": [place[2] for place in (*of_job, *places)],
        "wait_reason": [*_main_reasons(record), *([""] * idle)],
    }
    found: dict[str, Any] = dict(texts)
    for column in TABLES["jobs"].columns:
        name = column.name
        if name in texts:
            continue
        own: Any
        of_idle: Any
        if name in books.idle:
            own, of_idle = books.jobs[name], books.idle[name]
        elif name in books.jobs:
            own, of_idle = books.jobs[name], np.zeros(idle) if name.endswith("_seconds") else nothing
        elif name == "gpus":
            own, of_idle = jobs.gpus, np.array([pool.gpus for pool in pools])
        else:
            own = getattr(jobs, name)
            of_idle = nothing if column.dtype.startswith("float") else np.zeros(idle)
        if name == "lost_gpu_seconds":
            of_idle = np.zeros(idle)
        found[name] = np.concatenate([np.asarray(own), of_idle]).astype(column.dtype)
    return found


def _main_reasons(record: Record) -> list[str]:
    """Return the reason of most of each job's wait; empty if it never waited."""
    from simulator.telemetry import WAIT_REASONS

    waits = record.waits
    width_s = np.asarray(waits["end_s"]) - np.asarray(waits["start_s"])
    kinds = len(WAIT_REASONS)
    place = np.asarray(waits["job"], dtype=np.int64) * kinds + np.asarray(waits["reason"], dtype=np.int64)
    spans_s = np.bincount(place, width_s, len(record.jobs) * kinds).reshape(len(record.jobs), kinds)
    longest = spans_s.argmax(axis=1)
    waited = spans_s.sum(axis=1) > 0
    return [WAIT_REASONS[code] if known else "" for code, known in zip(longest.tolist(), waited, strict=True)]


def _keep_record(folder: Path, record: Record, stamp: Mapping[str, str]) -> None:
    from simulator.results.kept_record import keep_record

    keep_record(folder, record, stamp)


def _one_argument(progress: Callable[[float], None]) -> Callable[[float, float], None]:
    return lambda now_s, _horizon_s: progress(now_s)
