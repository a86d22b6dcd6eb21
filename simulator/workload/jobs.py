"""Jobs: the immutable facts of one job, and a table of many as parallel columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import TraceError
from simulator.foundation.time_grid import snap
from simulator.workload.moments import snap_all

KINDS: Final = ("training", "trace", "research", "replica")

FloatColumn = NDArray[np.float64]
IntColumn = NDArray[np.int64]

_INT_FIELDS: Final = ("gpus", "priority", "minimum_gpus")
_FLOAT_FIELDS: Final = (
    "submitted_s",
    "work",
    "requested_run_s",
    "deadline_s",
    "checkpoint_every_s",
    "checkpoint_stall_s",
    "order_id",
)
_TEXT_FIELDS: Final = ("kind", "tenant", "queue", "model", "gpu_type", "site")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is known about one job before it runs.

    Parameters
    ----------
    job_id : str
        Name of the job, as in the log it came from.
    kind : str
        One of ``training``, ``trace``, ``research``, ``replica``.
    tenant, queue : str
        Who pays, and the queue it is submitted to.
    gpus : int
        GPUs that the job holds while it runs.
    submitted_s : float
        Submission, seconds since the start of the run.
    work : float
        Tokens for training, reference seconds otherwise; ``inf`` for replicas,
        which run until they are stopped.
    requested_run_s : float
        The scheduler's estimate of the run time; ``inf`` if there is none.
    priority : int
        Larger is more urgent.
    deadline_s : float
        Moment by which it should have finished; ``inf`` if there is none.
    model, gpu_type : str
        Catalog names; "" means none and any.
    site : str
        "" means wherever its queue is.
    minimum_gpus : int
        Floor for elastic jobs; 0 means rigid.
    checkpoint_every_s, checkpoint_stall_s : float
        Running time between checkpoints, and the pause each one costs.
    order_id : float
        The job id as a number; breaks ties between simultaneous submissions.
    """

    job_id: str
    kind: str
    tenant: str
    queue: str
    gpus: int
    submitted_s: float
    work: float
    requested_run_s: float = math.inf
    priority: int = 0
    deadline_s: float = math.inf
    model: str = ""
    gpu_type: str = ""
    site: str = ""
    minimum_gpus: int = 0
    checkpoint_every_s: float = math.inf
    checkpoint_stall_s: float = 0.0
    order_id: float = 0.0


@dataclass(frozen=True, slots=True)
class JobLists:
    """The columns of a `JobTable` as Python lists: scalar access without numpy's boxing."""

    job_id: list[str]
    kind: list[str]
    tenant: list[str]
    queue: list[str]
    gpus: list[int]
    submitted_s: list[float]
    work: list[float]
    requested_run_s: list[float]
    priority: list[int]
    deadline_s: list[float]
    model: list[str]
    gpu_type: list[str]
    site: list[str]
    minimum_gpus: list[int]
    checkpoint_every_s: list[float]
    checkpoint_stall_s: list[float]
    order_id: list[float]


@dataclass(frozen=True, slots=True)
class Labels:
    """A text column stored as codes into a short tuple of names."""

    code: IntColumn
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str]) -> Labels:
        """Encode texts; names are kept in order of first appearance."""
        seen: dict[str, int] = {}
        code = [seen.setdefault(value, len(seen)) for value in values]
        return cls(np.asarray(code, dtype=np.int64), tuple(seen))

    @classmethod
    def constant(cls, value: str, count: int) -> Labels:
        """Put the same text in every row."""
        return cls(np.zeros(count, dtype=np.int64), (value,))

    def texts(self) -> list[str]:
        """Return the column as a list of texts."""
        names = self.names
        return [names[code] for code in self.code.tolist()]

    def take(self, rows: IntColumn) -> Labels:
        """Return the labels of a selection of rows."""
        return Labels(self.code[rows], self.names)

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Stack several columns, merging their names."""
        seen: dict[str, int] = {}
        codes = []
        for part in parts:
            new_code = [seen.setdefault(name, len(seen)) for name in part.names]
            codes.append(np.asarray(new_code, dtype=np.int64)[part.code])
        code = np.concatenate(codes) if codes else np.empty(0, dtype=np.int64)
        return cls(code, tuple(seen))


@dataclass(frozen=True, eq=False)
class JobTable:
    """Many jobs as parallel columns, sorted by submission and then by id as a number.

    Columns have the names and units of `JobSpec`; the text columns are `Labels`.
    Arrays are read-only. `skipped` counts the rows that a reader left out, by reason.

    Raises
    ------
    TraceError
        If columns differ in length, rows are out of order, a value is impossible, or an id
        stands twice; the message gives the rows.
    """

    job_id: tuple[str, ...]
    kind: Labels
    tenant: Labels
    queue: Labels
    gpus: IntColumn
    submitted_s: FloatColumn
    work: FloatColumn
    requested_run_s: FloatColumn
    priority: IntColumn
    deadline_s: FloatColumn
    model: Labels
    gpu_type: Labels
    site: Labels
    minimum_gpus: IntColumn
    checkpoint_every_s: FloatColumn
    checkpoint_stall_s: FloatColumn
    order_id: FloatColumn
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the invariants and freeze the arrays."""
        count = len(self.job_id)
        for name in _INT_FIELDS + _FLOAT_FIELDS:
            column = getattr(self, name)
            if len(column) != count:
                raise TraceError(f"column {name} has {len(column)} rows, job_id has {count}")
            column.setflags(write=False)
        for name in _TEXT_FIELDS:
            labels: Labels = getattr(self, name)
            if len(labels.code) != count:
                raise TraceError(f"column {name} has {len(labels.code)} rows, job_id has {count}")
            labels.code.setflags(write=False)
        self._check_rows()

    def _check_rows(self) -> None:
        """Refuse rows that no scheduler could place in time."""
        for name, good in (
            ("submitted_s", np.isfinite(self.submitted_s)),
            ("work", self.work >= 0),
            ("gpus", self.gpus >= 1),
            ("requested_run_s", self.requested_run_s >= 0),
        ):
            bad = np.flatnonzero(~good)
            if len(bad):
                raise TraceError(
                    f"{name} is impossible at rows {bad[:5].tolist()}: "
                    f"{getattr(self, name)[bad[:5]].tolist()}"
                )
        step = np.diff(self.submitted_s)
        disorder = np.flatnonzero((step < 0) | ((step == 0) & (np.diff(self.order_id) < 0)))
        if len(disorder):
            raise TraceError(
                "rows must be sorted by submitted_s and then order_id; "
                f"row {int(disorder[0]) + 1} comes before the row above it"
            )
        if len(set(self.job_id)) != len(self.job_id):
            seen: dict[str, int] = {}
            for row, job_id in enumerate(self.job_id):
                if job_id in seen:
                    raise TraceError(
                        f"job id {job_id!r} stands in rows {seen[job_id]} and {row}; expected each once"
                    )
                seen[job_id] = row

    def __len__(self) -> int:
        """Count of jobs."""
        return len(self.job_id)

    def __iter__(self) -> Iterator[JobSpec]:
        """Yield the jobs one by one, in the table's order."""
        return (self.spec(row) for row in range(len(self)))

    @cached_property
    def _lists(self) -> JobLists:
        """Made once, at the first call of `lists`."""
        columns: dict[str, list[object]] = {"job_id": list(self.job_id)}
        for name in _TEXT_FIELDS:
            columns[name] = getattr(self, name).texts()
        for name in _INT_FIELDS + _FLOAT_FIELDS:
            columns[name] = getattr(self, name).tolist()
        return JobLists(**columns)  # type: ignore[arg-type]

    def lists(self) -> JobLists:
        """Return the columns as Python lists; made at the first call, then kept."""
        return self._lists

    def spec(self, row: int) -> JobSpec:
        """Return the job in one row."""
        lists = self._lists
        return JobSpec(**{name: getattr(lists, name)[row] for name in JobSpec.__slots__})

    @classmethod
    def empty(cls) -> JobTable:
        """Make a table without jobs."""
        return cls.from_specs(())

    @classmethod
    def from_columns(
        cls,
        *,
        job_id: Sequence[str],
        kind: str,
        queue: Labels | str,
        gpus: IntColumn,
        submitted_s: FloatColumn,
        work: FloatColumn,
        requested_run_s: FloatColumn,
        order_id: FloatColumn,
        tenant: Labels | str = "",
        gpu_type: str = "",
        site: str = "",
        skipped: Mapping[str, int] | None = None,
    ) -> JobTable:
        """Make rigid jobs of one kind from arrays in any order.

        Submissions are put on the time grid; rows are sorted by (submitted_s, order_id),
        equal rows keep their order.
        """
        count = len(job_id)
        moments_s = snap_all(np.asarray(submitted_s, dtype=np.float64))
        rows = np.lexsort((order_id, moments_s)).astype(np.int64)
        ids = tuple(job_id)
        if not np.array_equal(rows, np.arange(count)):
            ids = tuple([ids[row] for row in rows.tolist()])
        tenants = Labels.constant(tenant, count) if isinstance(tenant, str) else tenant
        queues = Labels.constant(queue, count) if isinstance(queue, str) else queue
        return cls(
            job_id=ids,
            kind=Labels.constant(kind, count),
            tenant=tenants.take(rows),
            queue=queues.take(rows),
            gpus=np.asarray(gpus, dtype=np.int64)[rows],
            submitted_s=moments_s[rows],
            work=np.asarray(work, dtype=np.float64)[rows],
            requested_run_s=np.asarray(requested_run_s, dtype=np.float64)[rows],
            priority=np.zeros(count, dtype=np.int64),
            deadline_s=np.full(count, np.inf),
            model=Labels.constant("", count),
            gpu_type=Labels.constant(gpu_type, count),
            site=Labels.constant(site, count),
            minimum_gpus=np.zeros(count, dtype=np.int64),
            checkpoint_every_s=np.full(count, np.inf),
            checkpoint_stall_s=np.zeros(count),
            order_id=np.asarray(order_id, dtype=np.float64)[rows],
            skipped=dict(skipped or {}),
        )

    @classmethod
    def from_specs(cls, specs: Iterable[JobSpec]) -> JobTable:
        """Make a table of single jobs, sorted by (submitted_s, order_id)."""
        ordered = sorted(
            (replace(spec, submitted_s=snap(spec.submitted_s)) for spec in specs),
            key=lambda spec: (spec.submitted_s, spec.order_id),
        )
        columns: dict[str, object] = {"job_id": tuple(spec.job_id for spec in ordered)}
        for name in _TEXT_FIELDS:
            columns[name] = Labels.of([getattr(spec, name) for spec in ordered])
        for name in _INT_FIELDS:
            columns[name] = np.asarray([getattr(spec, name) for spec in ordered], dtype=np.int64)
        for name in _FLOAT_FIELDS:
            columns[name] = np.asarray([getattr(spec, name) for spec in ordered], dtype=np.float64)
        return cls(**columns)  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, tables: Sequence[JobTable]) -> JobTable:
        """Merge several workloads into one sorted table; ids must differ between them."""
        if len(tables) == 1:
            return tables[0]
        if not tables:
            return cls.empty()
        ids = [job_id for table in tables for job_id in table.job_id]
        submitted_s = np.concatenate([table.submitted_s for table in tables])
        order_id = np.concatenate([table.order_id for table in tables])
        # lexsort is stable: equal keys keep the order in which the workloads were given.
        rows = np.lexsort((order_id, submitted_s)).astype(np.int64)
        columns: dict[str, object] = {"job_id": tuple([ids[row] for row in rows.tolist()])}
        for name in _TEXT_FIELDS:
            columns[name] = Labels.joined([getattr(table, name) for table in tables]).take(rows)
        for name in _INT_FIELDS + _FLOAT_FIELDS:
            columns[name] = np.concatenate([getattr(table, name) for table in tables])[rows]
        skipped: dict[str, int] = {}
        for table in tables:
            for reason, count in table.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
        return cls(skipped=skipped, **columns)  # type: ignore[arg-type]

    def take(self, rows: IntColumn) -> JobTable:
        """Return the selected rows, which must be given in ascending order."""
        columns: dict[str, object] = {
            "job_id": tuple([self.job_id[row] for row in np.asarray(rows).tolist()])
        }
        for name in _TEXT_FIELDS + _INT_FIELDS + _FLOAT_FIELDS:
            column = getattr(self, name)
            columns[name] = column.take(rows) if isinstance(column, Labels) else column[rows]
        return JobTable(skipped=self.skipped, **columns)  # type: ignore[arg-type]

    def with_prefix(self, prefix: str) -> JobTable:
        """Return the same jobs under longer ids, so that two workloads can share a run."""
        return replace(self, job_id=tuple([prefix + job_id for job_id in self.job_id]))
