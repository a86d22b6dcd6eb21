"""What is asked of a service: how many requests come, when, and how long they are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from simulator.scenario.branch import Branch
from simulator.scenario.fields import Amount, Duration, FilePath, Measure, OneOf, Rate, Words, mistake
from simulator.workload.arrivals import MOST_CV

Correlation = Annotated[float, Measure("", low=-1.0, high=1.0)]


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
    gpu_hours_per_s: Rate | None = Field(
        default=None,
        alias="gpu_hours",
        description='GPU-hours over time, at batches of 64 for each attention group: "30_000 per month".',
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
