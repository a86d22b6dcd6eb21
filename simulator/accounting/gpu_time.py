"""Where the GPU time of a run went: what was useful, and what took the rest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from simulator.accounting.settlement import by_code
from simulator.telemetry.record import Record
from simulator.telemetry.tables import Phase

#: What GPU time goes into, in the order of reports; all but the last is held.
USES: Final = (
    "productive",
    "recompute",
    "communication",
    "bubble",
    "straggler",
    "checkpoint",
    "lost",
    "detecting",
    "diagnosing",
    "restarting",
    "stopping",
    "other",
    "waiting",
)

_PHASES: Final = {
    Phase.DETECTING: "detecting",
    Phase.DIAGNOSING: "diagnosing",
    Phase.STARTING: "restarting",
    Phase.RECOVERING: "restarting",
    Phase.STOPPING: "stopping",
}


def gpu_time(record: Record) -> dict[str, Any]:
    """Return the columns of the table ``gpu_time``: GPU-seconds by job and use, none of them nil.

    Every training run has rows of its own; all other jobs of a kind stand together. Work that a
    failure undid is `lost`, whatever part of a step it was; what is left of the steps is divided
    by the job's own breakdown, as it ran. All uses but `waiting` sum to what was held.
    """
    jobs, segments = record.jobs, record.segments
    count = len(jobs)
    job = np.asarray(segments["job"]).astype(np.intp)
    phase = np.asarray(segments["phase"])
    held = np.asarray(segments["gpus"]) * (np.asarray(segments["end_s"]) - np.asarray(segments["start_s"]))
    running = phase == int(Phase.RUNNING)
    steps = by_code(job[running], held[running], count)
    lost = np.minimum(jobs.lost_gpu_seconds, np.maximum(steps - jobs.stalled_gpu_seconds, 0.0))
    useful = np.maximum(steps - jobs.stalled_gpu_seconds - lost, 0.0)
    found: dict[str, Any] = {name: np.zeros(count) for name in USES}
    found["productive"] = useful * jobs.productive_share
    found["recompute"] = useful * jobs.recompute_share
    found["communication"] = useful * jobs.communication_share
    found["bubble"] = useful * jobs.bubble_share
    found["straggler"] = useful * jobs.straggler_share
    found["checkpoint"] = np.minimum(jobs.stalled_gpu_seconds, steps)
    found["lost"] = lost
    for code in np.unique(phase[~running]).tolist():
        mine = phase == code
        use = _PHASES.get(Phase(code), "other")
        found[use] = found[use] + by_code(job[mine], held[mine], count)
    found["waiting"] = jobs.gpus * np.nan_to_num(jobs.wait_s)

    rows: list[tuple[str, str, str, float]] = []
    training = np.array([kind == "training" for kind in jobs.kind], dtype=bool)
    for row in np.flatnonzero(training).tolist():
        rows += [(jobs.job_id[row], "training", use, float(found[use][row])) for use in USES]
    for kind in dict.fromkeys(jobs.kind):
        if kind != "training":
            mine = np.array([other == kind for other in jobs.kind], dtype=bool)
            rows += [("", kind, use, float(found[use][mine].sum())) for use in USES]
    rows = [row for row in rows if row[3] > 0.0]
    return {
        "job_id": [row[0] for row in rows],
        "kind": [row[1] for row in rows],
        "use": [row[2] for row in rows],
        "gpu_seconds": np.array([row[3] for row in rows]),
    }
