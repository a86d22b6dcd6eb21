"""A service: a model behind an endpoint, its replicas, its demand and its promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from simulator.foundation.units import GIB
from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import (
    Amount,
    Bandwidth,
    Bytes,
    Count,
    Duration,
    FilePath,
    Measure,
    Name,
    OneOf,
    PositiveShare,
    Power,
    Rate,
    Share,
    Span,
    Truth,
    Whole,
    Words,
    mistake,
)
from simulator.workload.arrivals import MOST_CV

#: From here on vLLM V1 takes wider batches by default. [B]
_LARGE_GPU_BYTES: Final = 70 * GIB

#: Fields of an engine that stand in for the catalog's: those that size the cache, the host's time, the batch.
_MEMORY: Final = ("memory_fraction", "reserved_bytes")
_HOST: Final = ("cpu_overhead_s", "cpu_overhead_per_sequence_s", "overlaps_cpu")
_NUMBERS: Final = (
    *_MEMORY, *_HOST, "block_tokens", "watermark_fraction", "max_sequences", "token_budget"
)  # fmt: skip

#: Numbers of an engine above which tables by tokens or blocks fill the memory of any machine.
_LARGEST: Final = {"token_budget": 2**20, "max_sequences": 2**20, "block_tokens": 2**16}

Router = Annotated[Choice, Plugin("routers")]
Autoscale = Annotated[Choice, Plugin("autoscalers")]
Correlation = Annotated[float, Measure("", low=-1.0, high=1.0)]
Precision = Annotated[
    Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int4", "nvfp4", "mxfp4", "fp4"], OneOf()
]
CachePrecision = Annotated[Literal["fp32", "fp16", "bf16", "fp8"], OneOf()]


class Speculative(Branch):
    """A small model guesses tokens ahead; one pass of the large one checks them."""

    drafts: Count = Field(description="Tokens guessed for each decode and pass.")
    acceptance_fraction: Share = Field(
        alias="acceptance", description="Chance that a guess is right if those before it were."
    )
    draft_cost_fraction: Share = Field(
        default=0.05,
        alias="draft_cost",
        description="Time of guessing one token, as a share of a plain decode pass; a head of one layer.",
    )


class Engine(Branch):
    """The serving engine on each replica."""

    short: ClassVar[str] = "preset"

    preset: Words | None = Field(
        default=None, description="Catalog name of the engine's defaults; the policy's if not given."
    )
    policy: Annotated[Literal["vllm-v1", "vllm-v0", "sarathi", "static"], OneOf()] | None = Field(
        default=None, description="How it makes its batches; the preset's way if not given."
    )
    software: Annotated[Literal["vllm", "vllm-0.11", "sglang", "trtllm"], OneOf()] = Field(
        default="vllm", description="Whose kernels and host code: sets the time of an iteration."
    )
    iteration_table: FilePath | None = Field(
        default=None,
        description="Measured times in place of the roofline: Vidur's .npz, or part,first,second,ms as .csv.",
    )
    precision: Precision = Field(default="bf16", description="Of the weights and the arithmetic.")
    kv_precision: CachePrecision | None = Field(
        default=None, description="Of the cache; 16 bits beside quantised weights if not given."
    )
    kv_blocks: Count | None = Field(
        default=None, description="Blocks of cache; from free memory if not given."
    )
    block_tokens: Count | None = Field(default=None, description="Tokens of one block of cache.")
    memory_fraction: PositiveShare | None = Field(
        default=None, alias="memory", description="Share of a GPU's memory that the engine takes."
    )
    reserved_bytes: Bytes | None = Field(
        default=None,
        alias="reserved",
        description="Of that share, on each GPU: context, graphs, activations; neither weights nor cache.",
    )
    watermark_fraction: Share | None = Field(
        default=None, alias="watermark", description="Share of the blocks kept free when a request goes in."
    )
    max_sequences: Count | None = Field(default=None, description="Most requests in one batch.")
    token_budget: Count | None = Field(default=None, description="Most tokens in one iteration.")
    cpu_overhead_s: Span | None = Field(
        default=None, alias="cpu_overhead", description="Host time of one iteration."
    )
    cpu_overhead_per_sequence_s: Span | None = Field(
        default=None,
        alias="cpu_overhead_per_sequence",
        description="Host time of one sequence of one iteration.",
    )
    overlaps_cpu: Truth | None = Field(
        default=None, description="Host time hides behind the GPU's, so that the longer counts; or both do."
    )
    padded_budget: Truth | None = Field(
        default=None,
        description="vllm-v0: the budget counts prompts times the longest (its first releases, and Vidur).",
    )
    prefix_caching: Truth | None = Field(
        default=None,
        description="Blocks given back keep what they hold until taken again; vllm-v1: yes, others: no.",
    )

    speculative: Speculative | None = Field(default=None, description="Drafts; none if not given.")

    @model_validator(mode="after")
    def _effective(self) -> Self:
        said = self._said(_MEMORY)
        if self.kv_blocks is not None and said:
            raise mistake(
                f"kv_blocks says how large the cache is, so {said[0]} has no effect", "give one of them"
            )
        for key, most in _LARGEST.items():
            value = getattr(self, key)
            if value is not None and value > most:
                raise mistake(f"{key} {value}: no engine takes so many", f"at most {most:,}")
        said = self._said(_HOST)
        if self.iteration_table is not None and said:
            raise mistake(
                f"iteration_table holds whole iterations, so {said[0]} has no effect",
                "leave it out, or the table",
            )
        return self

    def _said(self, names: tuple[str, ...]) -> list[str]:
        """Return the YAML keys of those fields that have a value."""
        return [key for key, name in self.keys().items() if name in names and getattr(self, name) is not None]

    @property
    def numbers(self) -> dict[str, Any]:
        """What was said here in place of the catalog's defaults, by field of `catalog.entries.EngineSpec`."""
        said: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        said["scheduler"] = self.policy
        return {name: value for name, value in said.items() if value is not None}

    @property
    def choices(self) -> dict[str, Any]:
        """Choices of the batching rule that were made here, by field of `serving.batch_rule.BatchRule`."""
        said: dict[str, Any] = {
            "padded_budget": self.padded_budget,
            "keeps_blocks": self.prefix_caching,
        }
        if self.speculative is not None:
            said.update(self.speculative.model_dump())
        return {name: value for name, value in said.items() if value is not None}

    @property
    def entry(self) -> str:
        """Catalog name of the engine's defaults."""
        return self.preset or self.policy or "vllm-v1"

    def entry_on(self, gpu_memory_bytes: float) -> str:
        """Return the catalog name of the defaults on GPUs of this size: vLLM V1 has two sets."""
        if self.preset is None and self.entry == "vllm-v1" and gpu_memory_bytes < _LARGE_GPU_BYTES:
            return "vllm-v1-small"
        return self.entry


class Replicas(Branch):
    """How many copies run."""

    minimum: Whole = Field(default=1, alias="min", description="Fewest copies.")
    maximum: Count | None = Field(default=None, alias="max", description="Most copies; `min` if not given.")
    autoscale: Autoscale = Field(
        default=Choice("autoscalers", "none"),
        validate_default=True,
        description="What decides between min and max.",
    )

    short: ClassVar[str] = "minimum"

    @classmethod
    def expand(cls, said: str) -> Mapping[str, Any]:
        """Return the mapping for a plain count: as many, always."""
        return {"min": said, "max": said}

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        most = self.highest
        if most < self.minimum:
            raise mistake(f"max {most} is below min {self.minimum}")
        if self.autoscale.name == "none" and most != self.minimum:
            raise mistake(
                f"min {self.minimum} and max {most} differ, but nothing scales",
                "give `autoscale: queue` or one number",
            )
        return self

    @property
    def highest(self) -> int:
        """Most copies."""
        return self.minimum if self.maximum is None else self.maximum


class Demand(Branch):
    """How much is asked for, in the terms people have; exactly one of the amounts."""

    requests_per_s: Rate | None = Field(
        default=None, alias="requests", description='Requests over time: "150_000 per day".'
    )
    tokens_per_s: Rate | None = Field(
        default=None, alias="tokens", description='Output tokens over time: "2 T per month".'
    )
    users: Amount | None = Field(
        default=None, description="People; together with requests_per_user or think_time."
    )
    requests_per_user_per_s: Rate | None = Field(
        default=None, alias="requests_per_user", description='Requests of each user: "20 per day".'
    )
    think_time_s: Duration | None = Field(
        default=None,
        description="Mean pause of each user between an answer and the next request: a closed loop.",
    )
    gpu_seconds_per_s: Rate | None = Field(
        default=None, alias="gpu_hours", description='GPU-hours over time: "30_000 per month".'
    )
    shape: Words = Field(default="flat", description="Catalog name of a weekly rhythm.")
    peak_to_mean: Amount | None = Field(
        default=None, description="Busiest hour over the mean; the shape's own if not given."
    )
    doubling_s: Duration | None = Field(
        default=None, description="Time in which the rate doubles; it does not grow if not given."
    )
    arrivals: Annotated[Literal["poisson", "gamma", "constant"], OneOf()] = Field(
        default="poisson", description="How requests come around the mean rate; gamma: in bursts."
    )
    cv: Amount | None = Field(
        default=None, description="Standard deviation over mean of the gaps; for arrivals gamma."
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.arrivals == "gamma" and (self.cv is None or self.cv > MOST_CV):
            raise mistake("arrivals gamma needs a cv above 0", f"such as cv: 2; at most {MOST_CV:g}")
        if self.arrivals != "gamma" and self.cv is not None:
            raise mistake(f"cv has no effect on arrivals {self.arrivals}", "give `arrivals: gamma`")
        if self.think_time_s is None:
            return self
        idle = {
            "shape": self.shape != "flat",
            "peak_to_mean": self.peak_to_mean is not None,
            "doubling": self.doubling_s is not None,
            "arrivals": self.arrivals != "poisson",
        }
        for key, said in idle.items():
            if said:
                raise mistake(
                    f"{key} has no effect in a closed loop: users ask when they were answered and thought"
                )
        if self.users is None or self.users != int(self.users):
            raise mistake("a closed loop needs a whole number of users", "users: 200")
        return self

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        said = [
            key
            for key, name in self.keys().items()
            if key in {"requests", "tokens", "users", "gpu_hours"} and getattr(self, name) is not None
        ]
        if len(said) != 1:
            raise mistake(
                f"{len(said)} amounts given ({', '.join(said) or 'none'}), exactly one is needed",
                "one of requests, tokens, users with requests_per_user, gpu_hours",
            )
        paces = (self.requests_per_user_per_s, self.think_time_s)
        if (self.users is None) != (paces == (None, None)) or None not in paces:
            raise mistake("users need one of requests_per_user and think_time, which need users")
        return self


class Lengths(Branch):
    """Prompt and output lengths: a catalog entry, pairs of a log, or a joint log-normal."""

    short: ClassVar[str] = "name"

    name: Words | None = Field(default=None, description="Catalog name of a length distribution.")
    path: FilePath | None = Field(
        default=None, description="Log of requests whose pairs of lengths are drawn again."
    )
    prompt_mean: Amount | None = Field(default=None, description="Mean prompt tokens.")
    prompt_median: Amount | None = Field(default=None, description="Median prompt tokens; mean if not given.")
    output_mean: Amount | None = Field(default=None, description="Mean output tokens.")
    output_median: Amount | None = Field(default=None, description="Median output tokens; mean if not given.")
    correlation: Correlation = Field(default=0.0, description="Of the two logarithms, -1 to 1.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        means = (self.prompt_mean, self.output_mean)
        medians = (self.prompt_median, self.output_median)
        if self.name is not None or self.path is not None:
            if any(value is not None for value in (*means, *medians)) or self.correlation != 0.0:
                raise mistake(
                    "a catalog entry's or a log's lengths are its own; give them or means, not both"
                )
            if self.name is not None and self.path is not None:
                raise mistake("give a catalog entry's name or a log's path, and not both")
        elif None in means:
            raise mistake("give a catalog entry's name, a log's path, or prompt_mean and output_mean")
        return self


class Tier(Branch):
    """A share of the requests with a promise."""

    name: Name = Field(description="Name of the tier.")
    share_fraction: Share = Field(description="Of the requests.")
    ttft_slo_s: Duration | None = Field(default=None, description="Time to first token that was promised.")
    tpot_slo_s: Duration | None = Field(
        default=None,
        description="Mean time between output tokens that was promised; a request must meet both.",
    )


class Admission(Branch):
    """When a replica gets a request, and which requests are turned away."""

    queued_per_replica: Count | None = Field(
        default=None,
        description="Requests that may wait at a replica; one that finds as many there is turned away.",
    )
    max_concurrency: Count | None = Field(
        default=None,
        description="Requests in flight that a replica is given; the rest is held at the door, better tiers "
        "first, for the first replica with room (flow control with late binding).",
    )
    queued_at_door: Count | None = Field(
        default=None,
        description="With max_concurrency: requests that may be held at the door; those beyond are turned "
        "away. All are held if not given.",
    )

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.queued_per_replica is None and self.max_concurrency is None:
            if self.queued_at_door is None:
                raise mistake("says nothing", "give queued_per_replica or max_concurrency")
            raise mistake(
                "queued_at_door has no effect where requests go to a replica as they come",
                "give max_concurrency with it, or queued_per_replica instead",
            )
        if self.queued_per_replica is not None and self.max_concurrency is not None:
            raise mistake(
                "max_concurrency holds at the door who would wait at a replica, so queued_per_replica is not "
                "a bound of its own",
                "give one of them; queued_at_door bounds who is held",
            )
        return self


class Disaggregated(Branch):
    """Replicas that only prefill and replicas that only decode."""

    prefill: Count = Field(description="Replicas that prefill.")
    decode: Count = Field(description="Replicas that decode.")


class Transform(Branch):
    """The model made smaller before it is served."""

    short: ClassVar[str] = "kind"

    kind: Annotated[Literal["prune-depth", "prune-width", "distill"], OneOf()] = Field(
        description="Layers dropped, widths cut, or a student trained on its answers."
    )
    keep_fraction: PositiveShare | None = Field(
        default=None, alias="keep", description="Share of the layers or widths that stays; for pruning."
    )
    student: Words | None = Field(default=None, description="Catalog name of the model; for distill.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "distill":
            if self.student is None:
                raise mistake("distill needs `student`", "name a catalog entry: datahall catalog models")
            if self.keep_fraction is not None:
                raise mistake("keep has no effect on distill: the student has its own shape")
        elif self.keep_fraction is None:
            raise mistake(f"{self.kind} needs `keep`", "such as keep: 75 %")
        elif self.student is not None:
            raise mistake(f"student has no effect on {self.kind}")
        return self


class ColdStart(Branch):
    """What a replica does with its GPUs before it takes a request: in all, or phase by phase."""

    short: ClassVar[str] = "total_s"

    total_s: Span | None = Field(default=None, description="All of it, where its phases are not told.")
    provision_s: Span = Field(default=0.0, description="Node and container, until the engine begins.")
    weights_bytes_per_s: Bandwidth | None = Field(
        default=None,
        alias="weights",
        description="Rate at which weights come to a replica; its hosts' links may be slower.",
    )
    compile_s: Span = Field(default=0.0, description="Compiling the model; 0 from a cache.")
    graph_capture_s: Span = Field(default=0.0, description="Capturing graphs for the batch sizes.")
    warm_up_s: Span = Field(default=0.0, description="First requests that nobody waits for.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        spans = (self.provision_s, self.compile_s, self.graph_capture_s, self.warm_up_s)
        told = self.weights_bytes_per_s is not None or any(spans)
        if told and self.total_s is not None:
            raise mistake("give a total or its phases, and not both")
        if not told and self.total_s is None:
            raise mistake("give a total or its phases", "such as cold_start: 2 min")
        return self

    def phases(self, weight_bytes: float, host_bytes_per_s: float) -> tuple[tuple[str, float], ...]:
        """Return name and length of each phase that takes time; none where only a total is told. [s]

        Parameters
        ----------
        weight_bytes
            Of the whole replica. [B]
        host_bytes_per_s
            From host memory to all of the replica's GPUs. [B/s]
        """
        weights_s = 0.0
        if self.weights_bytes_per_s is not None:
            weights_s = weight_bytes / min(self.weights_bytes_per_s, host_bytes_per_s)
        named = (
            ("provision", self.provision_s),
            ("weights", weights_s),
            ("compile", self.compile_s),
            ("graph capture", self.graph_capture_s),
            ("warm-up", self.warm_up_s),
        )
        return tuple((name, length_s) for name, length_s in named if length_s > 0.0)


class Service(Branch):
    """An inference service."""

    kind: Literal["service"] = "service"
    name: Name = Field(description="Name of the service.")
    model: Words = Field(description="Catalog name of the model.")
    engine: Engine = Field(default=Engine(), description="The serving engine.")
    transform: Transform | None = Field(
        default=None, description="The model made smaller; its published loss of quality is told."
    )
    tensor_parallel: Count = Field(
        default=1, description="GPUs that share one attention: those of a replica if it has one group."
    )
    attention_data_parallel: Count = Field(
        default=1,
        description="Groups of such GPUs in a replica of a model with experts; each has a queue, a batch and "
        "KV blocks of its own, and all go through every iteration together.",
    )
    expert_parallel: Count = Field(
        default=1, description="GPUs of a replica that experts are dealt over; the rest cut each expert."
    )
    replicas: Replicas = Field(default=Replicas(), description="How many copies run.")
    demand: Demand | None = Field(default=None, description="How much is asked for.")
    lengths: Lengths | None = Field(default=None, description="Prompt and output lengths.")
    path: FilePath | None = Field(
        default=None, description="Requests as they came: arrived_s, prompt_tokens, output_tokens."
    )
    tiers: tuple[Tier, ...] = Field(default=(), description="Promises, most important first.")
    mode: Annotated[Literal["full", "thinned", "fluid"], OneOf()] = Field(
        default="full", description="Every request, a sample of them, or their mean flow."
    )
    thin_fraction: PositiveShare = Field(default=1.0, description='Share simulated in mode thinned: "1/10".')
    router: Router = Field(
        default=Choice("routers", "least-outstanding"),
        validate_default=True,
        description="Which replica takes the next request.",
    )
    admission: Admission | None = Field(
        default=None,
        description="When a replica gets a request, and who is turned away; at once, and only those that fit "
        "no replica, if not given.",
    )
    sites: tuple[Name, ...] = Field(default=(), description="Sites it may run at; its queue's if not given.")
    cold_start: ColdStart = Field(
        default=ColdStart.model_construct(total_s=120.0),
        description="From GPUs given to the first request taken.",
    )
    warm_start: Truth = Field(
        default=False, description="Replicas of the run's first moment serve at once: they were up before."
    )
    disaggregated: Disaggregated | None = Field(default=None, description="Prefill apart from decode.")
    queue: Name | None = Field(default=None, description="Queue that its replicas are submitted to.")
    tenant: Name | None = Field(default=None, description="Who pays; the service's name if not given.")
    priority: Whole = Field(default=0, description="Larger goes first where a policy looks at it.")
    power_per_gpu_w: Power | None = Field(
        default=None,
        description="Given watts of each GPU, busy or idle, without its host; replaces the power model.",
    )

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one copy."""
        return self.tensor_parallel * self.attention_data_parallel

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.attention_data_parallel > 1 and self.engine.iteration_table is not None:
            raise mistake(
                "iteration_table does not say what attention groups share",
                "leave out the table, or attention_data_parallel",
            )
        if (self.path is None) == (self.demand is None):
            raise mistake("give either a demand or the path of a log of requests, and not both")
        if self.demand is not None and self.lengths is None:
            raise mistake("a demand needs lengths", "name a catalog entry: datahall catalog lengths")
        if self.path is not None and self.lengths is not None:
            raise mistake("lengths have no effect: the log gives every request's own")
        if self.mode == "fluid":
            for tier in self.tiers:
                if tier.ttft_slo_s is not None and tier.tpot_slo_s is not None:
                    raise mistake(
                        f"mode fluid has no single requests, so it cannot say which of tier {tier.name} met "
                        "both ttft_slo and tpot_slo",
                        "mode: full, or one of the two",
                    )
        if self.mode != "thinned" and self.thin_fraction != 1.0:
            raise mistake(f"thin has no effect in mode {self.mode}", "give `mode: thinned`")
        if self.mode == "thinned" and self.thin_fraction == 1.0:
            raise mistake("mode thinned needs `thin`", "such as thin: 1/10")
        return self
