"""Workloads: training runs, streams of jobs, job logs, and jobs listed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import (
    Amount,
    Bytes,
    Count,
    Duration,
    Factor,
    FilePath,
    Instant,
    Load,
    Measure,
    Name,
    OneOf,
    PositiveShare,
    Power,
    Share,
    Span,
    Truth,
    Whole,
    Words,
    mistake,
)
from simulator.scenario.kinds import ByKind
from simulator.scenario.service_engine import Precision
from simulator.scenario.services import Service

TenantField = Annotated[Literal["user", "group", "executable", "queue", "partition"], OneOf()]
ZeroStage = Annotated[int, Measure("", high=3, whole=True)]


#: What a given layout is where it says nothing.
_PLAIN_LAYOUT: Final = {
    "interleave": 1,
    "schedule": "1f1b",
    "micro_batch": 1,
    "sequence_parallel": True,
    "recompute": "none",
    "zero_stage": 1,
}


class Parallelism(Branch):
    """How a model is spread; what is not given is 1, or with `auto` the fastest that fits."""

    short: ClassVar[str] = "mode"

    mode: Annotated[Literal["auto", "given"], OneOf()] = Field(
        default="given", description="`auto` searches for the best layout."
    )
    tensor_parallel: Count | None = Field(default=None, alias="tp", description="Tensor-parallel ranks.")
    pipeline_parallel: Count | None = Field(default=None, alias="pp", description="Pipeline stages.")
    data_parallel: Count | None = Field(default=None, alias="dp", description="Data-parallel ranks.")
    context_parallel: Count | None = Field(default=None, alias="cp", description="Context-parallel ranks.")
    expert_parallel: Count | None = Field(default=None, alias="ep", description="Expert-parallel ranks.")
    interleave: Count | None = Field(default=None, description="Model chunks on each pipeline stage.")
    schedule: Annotated[Literal["1f1b", "zero-bubble", "dualpipe"], OneOf()] | None = Field(
        default=None, description="Order of the pipeline's passes."
    )
    micro_batch: Count | None = Field(default=None, description="Sequences in one micro-batch.")
    sequence_parallel: Truth | None = Field(default=None, description="Shard activations over tensor ranks.")
    recompute: Annotated[Literal["none", "selective", "full"], OneOf()] | None = Field(
        default=None, description="Activations computed again in the backward pass."
    )
    zero_stage: ZeroStage | None = Field(
        default=None, description="Sharding over replicas: 1 optimizer, 2 gradients, 3 weights (FSDP)."
    )
    shard_ranks: Count | None = Field(
        default=None, description="Replicas that share one set of shards (HSDP); all if not given."
    )
    outermost: Annotated[Literal["pipeline", "data"], OneOf()] | None = Field(
        default=None,
        description="Ranks that lie farthest apart: stages, as Megatron-LM numbers them and if not given, or "
        "copies of the model, as Llama 3.",
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, said: Any) -> Any:
        """Fill what a given layout leaves out; what `auto` leaves out is searched."""
        if isinstance(said, Mapping) and said.get("mode", "given") == "given":
            return {**_PLAIN_LAYOUT, **said}
        return said


class Checkpoint(Branch):
    """When and how a training run saves itself."""

    every_s: Duration | None = Field(
        default=None, description="Running time between checkpoints; short for the policy `fixed`."
    )
    policy: Annotated[Choice, Plugin("checkpoint_policies")] | None = Field(
        default=None, description="What sets the time between checkpoints, instead of `every`."
    )
    mode: Annotated[Literal["sync", "async"], OneOf()] = Field(
        default="sync", description="Whether training waits for the whole write."
    )
    stall_s: Span | None = Field(
        default=None, description="Pause of each; from size and storage if not given."
    )
    size_bytes: Bytes | None = Field(
        default=None, description="Of one checkpoint; from the model if not given."
    )
    bytes_per_parameter: Amount = Field(
        default=14.0,
        description="Of one checkpoint: 2 of 16-bit weights, 12 of the optimizer's 32-bit state.",
    )

    @model_validator(mode="after")
    def _one_interval(self) -> Self:
        if (self.every_s is None) == (self.policy is None):
            raise mistake("give either every or policy, and not both")
        return self


class Recovery(Branch):
    """How a run comes back from a failure, where its own times are known."""

    detect_s: Span | None = Field(
        default=None, description="Until a failure is noticed; the cause's if not given."
    )
    diagnose_s: Span | None = Field(
        default=None, description="Until it is known what broke; the cause's if not given."
    )
    launch_s: Span | None = Field(
        default=None, description="Scheduling, processes, collectives; the cause's if not given."
    )
    warm_up_s: Span = Field(default=0.0, description="On top: compiling and filling caches, to full speed.")
    nodes: Annotated[Literal["swap", "requeue"], OneOf()] = Field(
        default="swap",
        description="swap: it keeps its sound nodes and takes others for the broken ones; requeue: it "
        "gives all back and queues again.",
    )


class Elastic(Branch):
    """A run that may continue on fewer GPUs."""

    minimum_gpus: Count = Field(description="Fewest GPUs it runs on.")
    restore: Annotated[Literal["checkpoint", "peers"], OneOf()] = Field(
        default="checkpoint",
        description="peers: replicas that did not break go on at once from what they hold, and the broken "
        "one joins again when it is up.",
    )
    stall_s: Span | None = Field(
        default=None,
        description="Stall of all when a replica leaves, with restore: peers; it joins again without one.",
    )

    @model_validator(mode="after")
    def _joins(self) -> Self:
        if (self.stall_s is not None) != (self.restore == "peers"):
            raise mistake("give stall with restore: peers, and only then")
        return self


class Slowdown(Branch):
    """A run that is slower than modelled from its first step to its last: drawn once for the run.

    Lognormal, and never faster than modelled. Of a large fleet's jobs 42.5 % were at least 10 %
    slower than without stragglers, and a tenth at least 27 % (a what-if analysis of stragglers,
    OSDI 2025): a median of 7.3 % and a sigma of 0.13.
    """

    short: ClassVar[str] = "median_fraction"

    median_fraction: Annotated[float, Measure("fraction")] = Field(
        description="How much longer the steps of a run in the middle take."
    )
    sigma: Factor = Field(default=0.0, description="Of the logarithm of the ratio; 0 for the median itself.")

    @model_validator(mode="after")
    def _slows(self) -> Self:
        if self.median_fraction == 0.0 and self.sigma == 0.0:
            raise mistake("has no effect: median and sigma are 0")
        return self


#: Sequence length of most published pretraining since 2024.
_USUAL_CONTEXT_TOKENS: Final = 8192


class Training(Branch):
    """One large training run."""

    kind: Literal["training"] = "training"
    name: Name = Field(description="Name of the run, and its job id.")
    model: Words = Field(description="Catalog name of the model.")
    tokens: Amount | None = Field(default=None, description="Tokens to train on.")
    steps: Count | None = Field(default=None, description="Optimizer steps, instead of tokens.")
    loss: Amount | None = Field(
        default=None,
        description="Train until the scaling law expects this loss, in nats a token.",
    )
    compute_optimal: Truth = Field(
        default=False,
        description="Train on as many tokens as are best for the model's size.",
    )
    unique_tokens: Amount | None = Field(
        default=None, description="Tokens at hand; beyond them they are seen again. Without end if not given."
    )
    gpus: Count = Field(description="GPUs it asks for.")
    parallelism: Parallelism = Field(default=Parallelism(mode="auto"), description="How the model is spread.")
    precision: Precision = Field(default="bf16", description="Of the matrix products.")
    global_batch: Count | None = Field(
        default=None, description="Sequences in one step; chosen if not given."
    )
    context_tokens: Count | None = Field(
        default=None, alias="context", description="Sequence length; 8,192, or less if the model takes less."
    )
    checkpoint: Checkpoint | None = Field(default=None, description="When and how it saves itself.")
    rank_order: Annotated[Literal["along-fabric", "scattered"], OneOf()] = Field(
        default="along-fabric",
        description="How ranks lie on the job's nodes: neighbours on neighbouring nodes, or as a launcher "
        "deals them that knows nothing of the fabric.",
    )
    slowdown: Slowdown | None = Field(
        default=None, description="Its steps take longer than modelled, whatever the reason."
    )
    recovery: Recovery | None = Field(default=None, description="How it comes back from a failure.")
    submit_s: Instant = Field(default=0.0, description="Moment of submission.")
    queue: Name | None = Field(default=None, description="Queue it is submitted to.")
    tenant: Name | None = Field(default=None, description="Who pays; the run's name if not given.")
    priority: Whole = Field(default=0, description="Larger goes first where a policy looks at it.")
    deadline_s: Instant | None = Field(default=None, description="Moment by which it should be done.")
    elastic: Elastic | None = Field(default=None, description="May continue on fewer GPUs.")
    requested_run_s: Duration | None = Field(default=None, description="What the scheduler is told.")
    gpu_type: Words | None = Field(default=None, description="Catalog name of the only GPU it runs on.")
    mfu_fraction: PositiveShare | None = Field(
        default=None, description="Given model FLOPs utilization; replaces the step-time model."
    )
    power_per_gpu_w: Power | None = Field(
        default=None,
        description="Given IT watts per GPU with its share of the node; replaces the power model.",
    )

    @model_validator(mode="after")
    def _amount(self) -> Self:
        given = (self.tokens, self.steps, self.loss, self.compute_optimal or None)
        if sum(one is not None for one in given) != 1:
            raise mistake("give one of tokens, steps, loss and compute_optimal, and no two")
        if self.elastic is not None and self.elastic.minimum_gpus > self.gpus:
            raise mistake(f"elastic minimum_gpus {self.elastic.minimum_gpus} is above gpus {self.gpus}")
        return self

    def sequence_tokens(self, longest: int) -> int:
        """Return the sequence length: as given, or 8,192 unless the model takes less.

        Released contexts (131,072 for Llama 3.1) are those of a short last phase, not of training.
        """
        return self.context_tokens or min(_USUAL_CONTEXT_TOKENS, longest)


class JobStream(Branch):
    """A synthetic stream of research jobs."""

    kind: Literal["jobs"] = "jobs"
    name: Name = Field(description="Name of the stream; its jobs are NAME-0, NAME-1, ...")
    mix: Words = Field(description="Catalog name of the sizes and run times.")
    tenants: Mapping[Name, Share] = Field(default={}, description="Shares of the load; they sum to 1.")
    largest_gpus: Count | None = Field(
        default=None, alias="largest", description="Leave out the mix's jobs of more GPUs than this."
    )
    load_gpus: Load = Field(alias="load", description='Work offered: "90 GPUs on average".')
    power_per_gpu_w: Power | None = Field(default=None, description="Given watts of a busy GPU.")
    queue: Name | None = Field(default=None, description="Queue that the jobs are submitted to.")
    gpu_type: Words | None = Field(default=None, description="Catalog name of the only GPU they run on.")
    priority: Whole = Field(default=0, description="Larger goes first where a policy looks at it.")


class SwfLog(Branch):
    """A job log in the Standard Workload Format."""

    kind: Literal["swf"] = "swf"
    name: Name = Field(default="log", description="Name of the log.")
    path: FilePath = Field(description="The log, plain or gzipped.")
    first_jobs: Count | None = Field(default=None, description="Read only as many jobs.")
    queue: Name | None = Field(default=None, description="Queue that the jobs are submitted to.")
    tenant: Name | None = Field(
        default=None, description="Who pays for all jobs; the log's name if not given."
    )
    tenant_field: TenantField | None = Field(default=None, description="Field of the log that says who pays.")
    power_per_gpu_w: Power | None = Field(default=None, description="Given watts of a busy GPU.")


class HeliosLog(Branch):
    """A job log in one of the two Helios forms."""

    kind: Literal["helios"] = "helios"
    name: Name = Field(default="log", description="Name of the log.")
    path: FilePath = Field(description="The log, plain or gzipped.")
    first_jobs: Count | None = Field(default=None, description="Read only as many jobs.")
    virtual_clusters: tuple[Words, ...] = Field(default=(), description="Only these; all if not given.")
    first_day: Words | None = Field(
        default=None, alias="from", description="Only jobs submitted from this date of the log's clock on."
    )
    end_day: Words | None = Field(
        default=None, alias="until", description="Only jobs submitted before this date of the log's clock."
    )
    queue: Name | None = Field(
        default=None, description="Queue of all jobs; each goes to that of its virtual cluster if not given."
    )
    power_per_gpu_w: Power | None = Field(default=None, description="Given watts of a busy GPU.")


class ListedJob(Branch):
    """One job written by hand."""

    job_id: Words = Field(alias="id", description="Name of the job.")
    submit_s: Instant = Field(default=0.0, description="Moment of submission.")
    gpus: Count = Field(description="GPUs it asks for.")
    run_s: Span = Field(description="Run time at full speed.")
    requested_run_s: Span | None = Field(
        default=None, alias="requested", description="What the scheduler is told; `run` if not given."
    )
    queue: Name | None = Field(default=None, description="Queue it is submitted to; the list's if not given.")
    tenant: Name | None = Field(default=None, description="Who pays; the list's name if not given.")
    priority: Whole = Field(default=0, description="Larger goes first where a policy looks at it.")
    deadline_s: Instant | None = Field(default=None, description="Moment by which it should be done.")
    minimum_gpus: Whole = Field(default=0, description="Fewest GPUs it runs on; 0 for a rigid job.")
    gpu_type: Words | None = Field(default=None, description="Catalog name of the only GPU it runs on.")
    checkpoint_every_s: Duration | None = Field(
        default=None, alias="checkpoint_every", description="Running time between checkpoints."
    )
    checkpoint_stall_s: Span = Field(
        default=0.0, alias="checkpoint_stall", description="Pause of each checkpoint."
    )

    @model_validator(mode="after")
    def _floor(self) -> Self:
        if self.minimum_gpus > self.gpus:
            raise mistake(f"minimum_gpus {self.minimum_gpus} is above gpus {self.gpus}")
        return self


class JobList(Branch):
    """A few jobs written by hand."""

    kind: Literal["list"] = "list"
    name: Name = Field(default="jobs", description="Name of the list.")
    jobs: tuple[ListedJob, ...] = Field(description="The jobs.")
    queue: Name | None = Field(default=None, description="Queue of jobs that name none.")
    power_per_gpu_w: Power | None = Field(default=None, description="Given watts of a busy GPU.")


Workload = Annotated[Training | Service | JobStream | SwfLog | HeliosLog | JobList, ByKind()]
