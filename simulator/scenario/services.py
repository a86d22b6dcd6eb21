"""A service: a model behind an endpoint, its replicas, who gets one, and its promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice, Plugin
from simulator.scenario.fields import (
    Bandwidth,
    Count,
    Duration,
    Factor,
    FilePath,
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
from simulator.scenario.service_demand import Demand, Lengths
from simulator.scenario.service_engine import Engine

Router = Annotated[Choice, Plugin("routers")]
Autoscale = Annotated[Choice, Plugin("autoscalers")]


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
    site_weights: Mapping[Name, Factor] | None = Field(
        default=None,
        description="Relative weight of each site in the requests; the router chooses among all replicas if "
        "not given, and among those of a site if it is.",
    )
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
        if self.site_weights is not None and self.mode != "full":
            raise mistake(
                f"mode {self.mode} has one queue for all sites: it knows no site_weights", "mode: full"
            )
        if self.mode != "thinned" and self.thin_fraction != 1.0:
            raise mistake(f"thin has no effect in mode {self.mode}", "give `mode: thinned`")
        if self.mode == "thinned" and self.thin_fraction == 1.0:
            raise mistake("mode thinned needs `thin`", "such as thin: 1/10")
        return self
