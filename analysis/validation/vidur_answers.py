"""Vidur's answers, request for request, with its own iteration times plugged in.

Same requests, same batching rules (Sarathi-Serve and vLLM V0 as Vidur has them), same KV blocks
and the iteration tables that Vidur itself looks up: what differs is then the batching engine alone.

Vidur's router counts only the requests that wait for their first iteration, ours those in
flight; here Vidur's own rule routes, on the readable twin. Vidur's log says of a request that was
restarted what it looked like afterwards (its prompt grew by the tokens it had emitted); what it
was asked is read in the trace again.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.validation import MeasurementsMissing
from analysis.validation.score import Column, Table, Value, verdict
from simulator.performance.iteration_table import IterationTable, read_iteration_table
from simulator.serving.batch_rule import batch_rule
from simulator.serving.crowd import AddReplica
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.moments import snap_all
from simulator.workload.request_log import read_requests
from simulator.workload.requests import LoggedRequests, RequestTable

#: Of every request's end-to-end time (issue 4).
TARGET: Final = 0.01

#: Vidur's defaults: tokens of a block, and the share of blocks that admission leaves free.
_BLOCK_TOKENS: Final = 16
_WATERMARK: Final = 0.01
#: Llama 2 70B, which all saved runs are of.
LAYERS: Final = 80

#: Vidur's default seed, and the longest request of the saved runs. [tokens]
_VIDUR_SEED: Final = 42
_LONGEST_TOKENS: Final = 4096

METRICS: Final = ("ttft", "tpot", "e2e")

COLUMNS: Final = (
    Column("run"),
    Column("requests", "count"),
    Column("restarts", "count"),
    Column("ours", "count"),
    *(Column(f"{metric} mean error", "signed") for metric in METRICS),
    Column("within 1 %", "percent"),
    Column("median |e2e error|", "percent"),
    Column("p99 |e2e error|", "percent"),
    Column("worst", "percent"),
    Column("1 %"),
)


@dataclass(frozen=True)
class VidurRun:
    """One saved run: what was asked, by which rules, and the answers."""

    tag: str
    scheduler: str
    max_sequences: int
    token_budget: int
    replicas: int
    kv_blocks: int
    restarts: int
    columns: dict[str, NDArray[np.float64]]

    @classmethod
    def read(cls, summary: Path, trace: Path) -> VidurRun:
        """Return the run whose ``.summary.json`` this is; its ``.requests.csv.gz`` lies beside.

        `trace` is the log of conversations that the lengths come from.
        """
        said = json.loads(summary.read_text(encoding="utf-8"))
        options = dict(zip(said["args"][::1], [*said["args"][1:], ""], strict=True))
        kind = options["--replica_scheduler_config_type"]
        log = summary.with_name(summary.name.replace(".summary.json", ".requests.csv.gz"))
        with gzip.open(log, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
        order = np.argsort(columns["arrived_at"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        restarted = np.flatnonzero(columns["num_restarts"])
        if len(restarted):
            prompts, outputs = _asked(trace)
            columns["num_prefill_tokens"][restarted] = prompts[restarted]
            columns["num_decode_tokens"][restarted] = outputs[restarted]
        budget = (
            options["--sarathi_scheduler_config_chunk_size"]
            if kind == "sarathi"
            else options["--vllm_scheduler_config_max_tokens_in_batch"]
        )
        return cls(
            tag=said["tag"],
            scheduler="vllm-v0" if kind == "vllm" else str(kind),
            max_sequences=int(options[f"--{kind}_scheduler_config_batch_size_cap"]),
            token_budget=int(budget),
            replicas=int(options.get("--cluster_config_num_replicas", 1)),
            kv_blocks=int(said["num_blocks"]),
            restarts=int(said["restarts"]),
            columns=columns,
        )


def _asked(trace: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return prompts and outputs of the trace as Vidur deals them: shuffled, and cut to its longest."""
    log = read_requests(trace)
    order = np.random.RandomState(_VIDUR_SEED).permutation(len(log))
    prompts, outputs = log.prompt_tokens[order], log.output_tokens[order]
    total = prompts + outputs
    excess = np.maximum(total - _LONGEST_TOKENS, 0)
    return (
        prompts - np.ceil(excess * (prompts / total)).astype(np.int64),
        outputs - np.ceil(excess * (outputs / total)).astype(np.int64),
    )


@dataclass(frozen=True)
class TableReplica:
    """A replica that only knows how long its iterations take; it draws nothing."""

    iteration: IterationTable
    idle_power_w: float = 0.0

    def prompt_power_w(self, new_tokens: float) -> float:
        """Return no watts."""
        del new_tokens
        return 0.0

    def decode_power_w(self, sequences: float, context_tokens: float = 0.0) -> float:
        """Return no watts."""
        del sequences, context_tokens
        return 0.0

    def at_clock(self, clock_fraction: float) -> TableReplica:
        """Return itself: nobody changes clocks here."""
        del clock_fraction
        return self


@dataclass
class LeastWaiting:
    """Vidur's "lor": the replica with the fewest requests that wait; the lowest of equals."""

    crowd: list[TwinCrowd] = field(default_factory=list)

    def pick(self, turn: int, candidates: Sequence[int], loads: Sequence[int], *told: Any) -> int:
        """Return the candidate with the shortest queue."""
        del turn, loads, told
        fleet: Any = self.crowd[0]._fleet
        return min(candidates, key=lambda slot: (fleet.at(slot).waiting_count, slot))


def tables(data: Path) -> list[Table]:
    """Return the differences of every saved run."""
    home = data / "serving" / "reference" / "vidur"
    summaries = sorted(home.glob("*.summary.json"))
    measured = home / "iteration_tables_l270_tp2.npz"
    if not summaries or not measured.is_file():
        raise MeasurementsMissing(
            f"{home}: no summaries or no iteration tables; name the folder of measurements with --data or "
            "DATAHALL_DATA"
        )
    times = read_iteration_table(measured, layers=LAYERS, tensor_parallel=2)
    trace = data / "serving" / "traces" / "azure2023_conv.csv.gz"
    rows = [compared(VidurRun.read(path, trace), times) for path in summaries]
    notes = [
        "error: ours over Vidur's, each request by itself; within 1 %: end to end",
        "iteration times: Vidur's own tables (measured by Vidur on A100, medians of its forest)",
    ]
    return [Table("Vidur's answers with its own iteration times", COLUMNS, rows, notes)]


def compared(run: VidurRun, times: IterationTable) -> tuple[Value, ...]:
    """Return the row of one run."""
    found = replayed(run, times)
    errors = {metric: found[metric] / run.columns[metric] - 1.0 for metric in METRICS}
    e2e = np.abs(errors["e2e"])
    inside = float(np.mean(e2e <= TARGET))
    return (
        run.tag,
        len(e2e),
        run.restarts,
        int(found["preemptions"].sum()),
        *(float(np.nanmean(errors[metric])) for metric in METRICS),
        inside,
        float(np.median(e2e)),
        float(np.percentile(e2e, 99)),
        float(e2e.max()),
        verdict(float(e2e.max()), TARGET),
    )


def replayed(run: VidurRun, times: IterationTable) -> dict[str, NDArray[np.float64]]:
    """Return the twin's times of every request, in order of arrival. [s]"""
    asked = run.columns
    arrived_s = snap_all(asked["arrived_at"])
    outputs = asked["num_decode_tokens"].astype(np.int64)
    requests = RequestTable(
        arrived_s, asked["num_prefill_tokens"].astype(np.int64), outputs, np.zeros(len(outputs), np.int64)
    )
    router = LeastWaiting()
    rules = ServiceRules(
        name="vidur",
        tenant="vidur",
        tiers=("standard",),
        ttft_slo_s=(math.inf,),
        rule=batch_rule(
            run.scheduler,
            max_sequences=run.max_sequences,
            token_budget=run.token_budget,
            block_tokens=_BLOCK_TOKENS,
            watermark_fraction=_WATERMARK,
        ),
        router=router,
        kv_bytes_per_token=1.0,
        transfer_bytes_per_s=math.inf,
        origin_s=0.0,
    )
    crowd = TwinCrowd(rules, LoggedRequests(requests, float(arrived_s[-1])))
    router.crowd.append(crowd)
    for number in range(run.replicas):
        crowd.apply(AddReplica(number, "here", "mixed", 2, TableReplica(times), run.kv_blocks), 0.0)
    blocks: list[dict[str, Any]] = []
    end_s = float(asked["completed_at"].max())
    while sum(len(block["request_id"]) for block in blocks) < len(outputs):
        end_s *= 1.5
        while crowd.now_s < end_s:
            crowd.advance(end_s)
            blocks.append(crowd.take_rows())
    order = np.argsort(np.concatenate([block["request_id"] for block in blocks]), kind="stable")

    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([np.asarray(block[name], dtype=np.float64) for block in blocks])[order]

    return {metric: column(f"{metric}_s") for metric in METRICS} | {"preemptions": column("preemptions")}
