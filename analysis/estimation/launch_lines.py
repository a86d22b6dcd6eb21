"""How load tests started their engines: what of a launch line changes when a prompt is taken.

The silicon points are runs of InferenceX (before: InferenceMAX), whose scripts are public
(github.com/SemiAnalysisAI/InferenceX, ``benchmarks/``, October 2025 to April 2026); what they set
is a fact about the measurement, not a fitted number, and it depends on the engine, the kind of
model, the lengths and the concurrency. Rows of another origin get the engines' defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from simulator.catalog.entries import GpuSpec
from simulator.llm.architecture import Architecture
from simulator.performance.decoder_time import Deployment
from simulator.serving.closed_loop import NO_HOLD, Hold


@dataclass(frozen=True)
class LaunchLine:
    """What an engine was told.

    Parameters
    ----------
    token_budget
        Widest iteration of one attention group. [tokens]
    mixed
        Decodes go on beside prompts.
    hold
        When prompts are taken.
    reserved_output_fraction
        Share of an answer for which there must be room: TensorRT-LLM never evicts; the others
        count on answers that end, and evict when they do not.
    places_short
        Places for sequences that the engine has fewer than there are users; None: more than
        enough. [count]
    """

    token_budget: int = 8192
    mixed: bool = True
    hold: Hold = NO_HOLD
    reserved_output_fraction: float = 0.5
    places_short: int | None = None


#: SGLang looks for requests every so many decode iterations (``--scheduler-recv-interval``).
_POLL_FEW: Final = 10
_POLL_MANY: Final = 30
_MANY_USERS: Final = 16

#: Users from which a missing place is one of many.
_MANY_PLACES: Final = 8

#: TensorRT-LLM, attention data parallel: iterations until a prompt no longer waits for the other
#: groups' (``timeout_iters``), for latent attention and by default.
_GATHER_LATENT: Final = 60
_GATHER: Final = 50


def launch_line(
    engine: str,
    gpu: GpuSpec,
    architecture: Architecture,
    deployment: Deployment,
    precision: str,
    lengths: tuple[int, int],
    users: int,
    *,
    published: bool,
) -> LaunchLine:
    """Return how the engine of a load test was started.

    Parameters
    ----------
    lengths
        Longest prompt and answer. [tokens]
    users
        Requests under way. [count]
    published
        The run is one of InferenceX's, whose scripts are public.
    """
    prompt, output = lengths
    if engine.startswith("vllm"):
        return LaunchLine()
    if engine == "sglang":
        line = LaunchLine(token_budget=16384, mixed=False)
        blackwell = gpu.generation.startswith("Blackwell")
        # Models with sparse attention have a script of their own, without the interval.
        polls = blackwell and deployment.attention_data_parallel == 1 and not architecture.index_heads
        if published and polls:
            interval = _POLL_MANY if users >= _MANY_USERS else _POLL_FEW
            return replace(line, hold=Hold(interval, runs_free=True))
        return line
    line = LaunchLine(reserved_output_fraction=1.0)
    if not published:
        # AIConfigurator sets max_batch_size to the batch it plans, and the request that pads
        # captured graphs takes one of these places: in 177 rows one user of 8, 16, 32 or 64 always
        # waits for a whole answer.
        return replace(line, places_short=1 if users >= _MANY_PLACES else None)
    if not architecture.experts:
        budget = prompt + output + 200
        line = replace(line, token_budget=budget)
        if prompt == output and deployment.tensor_parallel < 8:
            line = replace(line, hold=Hold(20, tokens=round(0.9 * budget)))
        return line
    if not architecture.is_latent:
        line = replace(line, token_budget=20000)
    groups = deployment.attention_data_parallel
    if groups > 1:
        patience = _GATHER_LATENT if architecture.is_latent else _GATHER
        return replace(line, hold=Hold(patience, runs_free=True, prompts=groups))
    gathers = architecture.is_latent and precision == "fp8" and gpu.generation.startswith("Blackwell")
    if gathers and prompt == output and 64 <= users < 256:
        return replace(line, hold=Hold(40, tokens=round(0.8 * line.token_budget)))
    return line
