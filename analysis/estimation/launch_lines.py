"""How load tests started their engines: what of a launch line changes when a prompt is taken.

The silicon points are runs of InferenceX (before: InferenceMAX), whose scripts are public
(github.com/SemiAnalysisAI/InferenceX, ``benchmarks/``, October 2025 to April 2026), and some of
AIConfigurator's own. What scripts set is a fact about the measurement and depends on the engine, the
kind of model, the lengths and the concurrency. What no script says but rows show is marked as read off
rows; it goes to that campaign's rows alone. Rows of another origin get the engines' defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from simulator.catalog.entries import GpuSpec
from simulator.llm.architecture import Architecture
from simulator.performance.decoder_time import Deployment
from simulator.serving.closed_loop import NO_HOLD, Hold

#: Who ran a load test, as far as its row says.
Origin = Literal["inferencex", "aiconfigurator", "unknown"]


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
    distinct_prompts
        Different prompts that the load generator sent, remembered by the engine; None: all. [count]
    whole_prompts
        No prompt is cut while it fits into an iteration.
    compiles_s, compiled_tokens
        What kernels that nobody warmed up took to compile, at the first iteration with so many
        prompt tokens. [s], [tokens]
    captured_tokens
        Widest iteration that ran as a captured graph; None: the engine's own. [tokens]
    memory_fraction
        Of each GPU's memory that the engine may take.
    """

    token_budget: int = 8192
    mixed: bool = True
    hold: Hold = NO_HOLD
    reserved_output_fraction: float = 0.5
    places_short: int | None = None
    distinct_prompts: int | None = None
    whole_prompts: bool = False
    compiles_s: float = 0.0
    compiled_tokens: int = 1
    captured_tokens: int | None = None
    memory_fraction: float = 0.95


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


#: From this day on the load generator sends requests to warm up with, before those that count
#: (github.com/SemiAnalysisAI/InferenceX/pull/480).
_WARMED_UP: Final = "2026-01-17"

#: Read off rows. Images of SGLang from this day on choose and compile NVFP4 kernels when they first
#: meet a full chunk of prompts. In 33 runs of November 2025 the mean time to first token of ten
#: requests a user is 5 to 9 s wherever the first wave of prompts fills a chunk of 16,384 tokens, at 32
#: users of 1,024 tokens as at 4 of 8,192, and below 1 s wherever it does not.
_CHOOSES_KERNELS: Final = "2025-11-03"
_CHOICE_S: Final = 70.0

#: Read off rows. TensorRT-LLM's first prompt through latent attention, likewise: users of 49 runs of
#: November and December 2025 wait 0.1 to 0.2 s longer in the mean of ten requests, however few they are. [s]
_LATENT_FIRST_S: Final = 1.5

#: AIConfigurator's own runs under vLLM: the load generator (AIPerf) sends so many different prompts
#: in turn unless told otherwise, and vLLM remembers prompts unless told otherwise.
_GENERATED_PROMPTS: Final = 100

#: ``max-cudagraph-capture-size`` of vLLM in the scripts of MXFP4 models. [tokens]
_WIDE_GRAPHS: Final = 2048

#: Read off rows. Its runs on this release of TensorRT-LLM captured a graph for one sequence only: a
#: step of two or more takes 85 to 90 ms for DeepSeek R1 on 4 or 8 B200 from 5 sequences to 56.
_UNCAPTURED: Final = "1.3.0rc1"

#: TensorRT-LLM takes this much more than users and prompt into an iteration, in steps of 64; since
#: release 1.2 at least the other. Before December 2025 its longest sequence. [tokens]
_MARGIN: Final = 64
_LEAST_BUDGET: Final = 8192
_BUDGET_BY_USERS: Final = "2025-12-01"


def launch_line(
    engine: str,
    gpu: GpuSpec,
    architecture: Architecture,
    deployment: Deployment,
    precision: str,
    lengths: tuple[int, int],
    users: int,
    *,
    origin: Origin,
    release: str = "",
    measured_on: str = "",
) -> LaunchLine:
    """Return how the engine of a load test was started.

    Parameters
    ----------
    lengths
        Longest prompt and answer. [tokens]
    users
        Requests under way. [count]
    origin
        Who ran it.
    release, measured_on
        Version of the engine and day of the run (ISO), as far as they are known.
    """
    prompt, output = lengths
    published = origin == "inferencex"
    blackwell = gpu.generation.startswith("Blackwell")
    if engine.startswith("vllm"):
        line = LaunchLine(memory_fraction=0.95 if published and blackwell else 0.9)
        if not published:
            own = origin == "aiconfigurator"
            return replace(line, distinct_prompts=_GENERATED_PROMPTS) if own else line
        return replace(line, captured_tokens=_WIDE_GRAPHS) if precision == "mxfp4" else line
    if engine == "sglang":
        line = LaunchLine(token_budget=16384, mixed=False)
        if published and precision == "nvfp4" and _CHOOSES_KERNELS <= measured_on < _WARMED_UP:
            line = replace(line, compiles_s=_CHOICE_S, compiled_tokens=line.token_budget)
        # Models with sparse attention have a script of their own, without the interval.
        polls = blackwell and deployment.attention_data_parallel == 1 and not architecture.index_heads
        if published and polls:
            interval = _POLL_MANY if users >= _MANY_USERS else _POLL_FEW
            return replace(line, hold=Hold(interval, runs_free=True))
        return line
    line = LaunchLine(reserved_output_fraction=1.0, whole_prompts=True)
    if origin == "unknown":
        return line
    if not published:
        # AIConfigurator sets max_batch_size to the batch it plans. Read off 177 rows: one user of 8, 16,
        # 32 or 64 always waits for a whole answer, as if the request that pads captured graphs took a place.
        if release == _UNCAPTURED:
            return replace(line, captured_tokens=1)
        return replace(line, places_short=1 if users >= _MANY_PLACES else None)
    if not architecture.experts:
        budget = prompt + output + 200
        line = replace(line, token_budget=budget)
        if prompt == output and deployment.tensor_parallel < 8:
            line = replace(line, hold=Hold(20, tokens=round(0.9 * budget)))
        return line
    if not architecture.is_latent:
        line = replace(line, token_budget=20000)
    elif "" < measured_on < _BUDGET_BY_USERS:
        line = replace(line, token_budget=prompt + output + 200)
    else:
        needed = -(-(users + prompt + _MARGIN) // 64) * 64
        young = release.startswith("1.1")
        line = replace(line, token_budget=needed if young else max(_LEAST_BUDGET, needed))
    if architecture.is_latent and "" < measured_on < _WARMED_UP:
        line = replace(line, compiles_s=_LATENT_FIRST_S)
    groups = deployment.attention_data_parallel
    if groups > 1:
        patience = _GATHER_LATENT if architecture.is_latent else _GATHER
        return replace(line, hold=Hold(patience, runs_free=True, prompts=groups))
    gathers = architecture.is_latent and precision == "fp8" and blackwell
    if gathers and prompt == output and 64 <= users < 256:
        return replace(line, hold=Hold(40, tokens=round(0.8 * line.token_budget)))
    return line
