"""What accounting a finished run again needs beyond its tables, kept in the folder.

``record.parquet`` has one row a job with what the table ``jobs`` leaves out; ``record.json`` the
facts of sites and pools, outages, limits and what services counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulator.foundation.errors import RunFolderError
from simulator.results.finished_run import Run, read_json
from simulator.telemetry import (
    PHASES,
    WAIT_REASONS,
    JobOutcome,
    LayoutFacts,
    LearningFacts,
    LinkLoss,
    NodeFacts,
    PoolFacts,
    Record,
    ServiceRecord,
    SignalRead,
    SiteFacts,
)

_JOBS_FILE: Final = "record.parquet"
_FACTS_FILE: Final = "record.json"

#: Columns of the outcome that ``jobs`` does not have.
_MORE: Final = (
    "work_done",
    "stalled_gpu_seconds",
    "bubble_share",
    "communication_share",
    "straggler_share",
    "recompute_share",
    "flop_per_unit",
    "peak_flop_per_s",
)


def keep_record(folder: Path, record: Record, stamp: Mapping[str, str]) -> None:
    """Write what the tables leave out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from simulator.results.provenance import write_json

    columns = {name: pa.array(np.asarray(getattr(record.jobs, name), dtype=np.float64)) for name in _MORE}
    table: Any = pa.table(columns).replace_schema_metadata(dict(stamp))
    pq.write_table(
        table,
        folder / _JOBS_FILE,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        use_dictionary=False,
    )
    write_json(
        folder / _FACTS_FILE,
        {
            "sites": [asdict(site) for site in record.sites],
            "pools": [asdict(pool) for pool in record.pools],
            "outages": {name: np.asarray(values).tolist() for name, values in record.outages.items()},
            "services": [
                {"name": service.name, "model": service.model, "replica_jobs": list(service.replica_jobs)}
                | {"counters": service.counters, "tokens_out": service.summary.get("tokens_out")}
                for service in record.services
            ],
            "storage": _series(record.storage),
            "limits": _series(record.limits),
            "thermal": _series(record.thermal),
        },
    )


def kept_record(run: Run) -> Record:
    """Return the record of a finished run, as far as accounting reads it.

    Raises
    ------
    RunFolderError
        A file is missing or damaged.
    """
    facts = read_json(run.path / _FACTS_FILE)
    sites = tuple(SiteFacts(**site) for site in facts["sites"])
    pools = tuple(PoolFacts(**(pool | {"node": NodeFacts(**pool["node"])})) for pool in facts["pools"])
    outages = {name: np.array(values, dtype=np.float64) for name, values in facts["outages"].items()}
    services = tuple(
        ServiceRecord(
            name=said["name"],
            tiers=(),
            ttft_slo_s=(),
            tpot_slo_s=(),
            model=said["model"],
            replica_jobs=said["replica_jobs"],
            counters=said["counters"],
            summary={"tokens_out": said["tokens_out"]},
        )
        for said in facts["services"]
    )
    return Record(
        horizon_s=run.horizon_s,
        calendar=run.calendar,
        sites=sites,
        pools=pools,
        jobs=_jobs(run, pools),
        segments=_segments(run, sites, pools),
        waits=_coded(run, "waits", {"reason": WAIT_REASONS, "blocked_by": WAIT_REASONS}),
        outages=outages,
        services=services,
        storage=_arrays(facts["storage"]),
        limits=_arrays(facts["limits"]),
        thermal=_arrays(facts["thermal"]),
        signals_read=tuple(SignalRead(**read) for read in run.provenance["signals_read"]),
        events=int(run.provenance["events"]),
        counts=dict(run.provenance["counts"]),
        notes=list(run.provenance["notes"]),
        link_losses=tuple(LinkLoss(**said) for said in run.provenance.get("link_losses", ())),
        layouts=tuple(
            LayoutFacts(**{**said, "reasons": tuple(said["reasons"])})
            for said in run.provenance.get("layouts", ())
        ),
        learning=tuple(
            LearningFacts(
                said["job"],
                said["parameters"],
                math.inf if said["unique_tokens"] is None else said["unique_tokens"],
                said["has_experts"],
            )
            for said in run.provenance.get("learning", ())
        ),
    )


def _jobs(run: Run, pools: tuple[PoolFacts, ...]) -> JobOutcome:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.path / _JOBS_FILE
    try:
        more: Any = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}") from error
    count = more.num_rows
    table: Any = run.table("jobs").slice(0, count)
    columns: dict[str, Any] = {name: _floats(more.column(name)) for name in _MORE}
    site_and_pool = list(zip(table.column("site").to_pylist(), table.column("pool").to_pylist(), strict=True))
    codes = {(run.provenance["sites"][pool.site]["name"], pool.name): code for code, pool in enumerate(pools)}
    pool_code = np.array([codes.get(place, -1) for place in site_and_pool], dtype=np.int16)
    site_of = np.array([pool.site for pool in pools], dtype=np.int16)
    columns["pool"] = pool_code
    columns["site"] = np.where(pool_code >= 0, site_of[np.maximum(pool_code, 0)], -1).astype(np.int16)
    for field in fields(JobOutcome):
        if field.name in columns:
            continue
        column = table.column(field.name)
        kind = str(column.type)
        if kind == "string":
            columns[field.name] = column.to_pylist()
        elif kind.startswith("int"):
            columns[field.name] = np.asarray(column.to_numpy())
        else:
            columns[field.name] = _floats(column)
    return JobOutcome(**columns)


def _segments(
    run: Run, sites: tuple[SiteFacts, ...], pools: tuple[PoolFacts, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    names = {"site": tuple(site.name for site in sites), "phase": PHASES}
    found = _coded(run, "segments", names)
    # Pools of two sites may share a name: the pair is what counts.
    table: Any = run.table("segments").column("pool").combine_chunks().dictionary_encode()
    known = [str(name) for name in table.dictionary.to_pylist()]
    lookup = np.full((len(sites), max(1, len(known))), -1, dtype=np.int16)
    for code, pool in enumerate(pools):
        if pool.name in known:
            lookup[pool.site, known.index(pool.name)] = code
    indices = np.asarray(table.indices.to_numpy(zero_copy_only=False))
    found["pool"] = lookup[found["site"], indices] if len(indices) else np.empty(0, dtype=np.int16)
    return found


def _coded(run: Run, name: str, names: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return a table's columns as the engine had them: names as codes again."""
    table: Any = run.table(name)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for column in table.column_names:
        values = table.column(column).combine_chunks()
        if column in names:
            encoded = values.dictionary_encode()
            place = {text: code for code, text in enumerate(names[column])}
            codes = np.array([place[text] for text in encoded.dictionary.to_pylist()], dtype=np.int16)
            indices = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
            found[column] = codes[indices] if len(indices) else np.empty(0, dtype=np.int16)
        elif str(values.type) != "string":
            found[column] = np.asarray(values.to_numpy(zero_copy_only=False))
    return found


def _floats(column: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _series(table: Mapping[int, Any]) -> dict[str, list[list[float | None]]]:
    """Return step series as JSON has them: a limit that does not hold (inf) is null."""
    return {
        str(code): [
            np.asarray(times).tolist(),
            [None if np.isinf(value) else value for value in np.asarray(values).tolist()],
        ]
        for code, (times, values) in table.items()
    }


def _arrays(table: Mapping[str, Any]) -> dict[int, Any]:
    return {
        int(code): (
            np.array(times, dtype=np.float64),
            np.array([np.inf if value is None else value for value in values], dtype=np.float64),
        )
        for code, (times, values) in table.items()
    }
