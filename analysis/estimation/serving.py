"""Serving for rows of silicon points or of ML.ENERGY: time to first token, time per token, watts, joules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from analysis.estimation.case_file import Prediction, Row
from analysis.estimation.serving_cases import CaseReader, ServingCase, Stage
from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.memory import kv_blocks
from simulator.performance.decoder_time import LONGEST_FULL_WINDOW, Deployment
from simulator.performance.power_coefficients import Load
from simulator.performance.serving import PS_PER_S, ServingProfile, prefill_pairs, serving_profile
from simulator.performance.serving_coefficients import EngineCoefficients
from simulator.serving.closed_loop import ROUNDS, LoadTest, LoadTestResult, run_load_test

#: A file must have the columns of one source or of the other; rows say which is missing.
REQUIRED: Final[tuple[str, ...]] = ()

PREDICTED: Final = (
    "predicted_ttft_ms",
    "predicted_tpot_ms",
    "predicted_power_w",
    "predicted_joules_per_token",
    "assumed",
)

#: Widest iteration of the engines' defaults. [tokens]
TOKEN_BUDGET: Final = 8192

#: Memory of load tests' servers: what their published launch lines ask for, and graphs,
#: activations and buffers besides (AIConfigurator's system files).
_MEMORY_FRACTION: Final = 0.95
_RESERVED_BYTES: Final = 4.5e9

#: Share of an answer for which an engine wants room before it takes the prompt: TensorRT-LLM
#: never evicts; the others count on answers that end and evict when they do not.
_RESERVED_OUTPUT: Final = {"trtllm": 1.0}


#: Iterations that TensorRT-LLM's attention groups wait for each other's prompts at most.
_GATHERING_ITERATIONS: Final = 32


@dataclass(frozen=True)
class Outcome:
    """What is predicted for a case; watts over all its GPUs. [s], [W], [J]"""

    ttft_s: float
    tpot_s: float
    power_w: float
    joules_per_token: float


def predictor(catalog: Catalog) -> Callable[[Row], Prediction]:
    """Return the function from a row to its prediction."""
    reader = CaseReader(catalog)

    def predict(row: Row) -> Prediction:
        case = reader.case(row)
        found = outcome(case)
        return {
            "predicted_ttft_ms": found.ttft_s * 1e3,
            "predicted_tpot_ms": found.tpot_s * 1e3,
            "predicted_power_w": found.power_w,
            "predicted_joules_per_token": found.joules_per_token,
            "assumed": "; ".join(case.assumed),
        }

    return predict


def outcome(case: ServingCase) -> Outcome:
    """Return what is predicted for a case."""
    if case.steady:
        return _steady(case)
    return _together(case) if case.prefill is None else _apart(case, case.prefill)


def stage_profile(case: ServingCase, stage: Stage) -> ServingProfile:
    """Return time and watts of a replica of one stage."""
    return profile_of(
        case.architecture, case.gpu, stage.deployment, case.engine, case.precision, case.kv_precision
    )


def fresh_profile(
    architecture: Architecture,
    gpu: GpuSpec,
    deployment: Deployment,
    engine: str,
    precision: str,
    kv_precision: str,
    *,
    law: EngineCoefficients | None = None,
) -> ServingProfile:
    """Return time and watts of a replica, with given coefficients of its engine or the shipped ones."""
    return serving_profile(
        architecture,
        gpu,
        tensor_parallel=deployment.tensor_parallel,
        attention_data_parallel=deployment.attention_data_parallel,
        expert_parallel=deployment.expert_parallel,
        engine=engine,
        precision=precision,
        kv_precision=kv_precision,
        cpu_overhead_s=0.0,
        most_tokens=TOKEN_BUDGET * deployment.attention_data_parallel,
        engine_law=law,
    )


#: Profiles by deployment: many rows share one.
profile_of: Callable[..., ServingProfile] = lru_cache(maxsize=512)(fresh_profile)


def kv_tokens(case: ServingCase, stage: Stage) -> float:
    """Return the tokens that a replica can remember; LayoutError if the model does not fit."""
    groups = stage.deployment.attention_data_parallel
    blocks = kv_blocks(
        case.architecture,
        gpu_memory_bytes=case.gpu.memory_bytes,
        tensor_parallel=stage.deployment.gpus,
        precision=case.precision,
        kv_precision=case.kv_precision,
        token_budget=TOKEN_BUDGET,
        memory_fraction=_MEMORY_FRACTION,
        reserved_bytes=_RESERVED_BYTES,
    )
    # Windowed layers give back what left their window, so that full ones have the room.
    windowed = 0.0
    if 0 < case.architecture.sliding_window <= LONGEST_FULL_WINDOW:
        windowed = case.architecture.windowed_fraction
    return 16.0 * blocks * groups / (1.0 - windowed)


def load_test(case: ServingCase, kv_tokens: float, users: float) -> LoadTest:
    """Return the load test of a case on one replica."""
    return LoadTest(
        users=max(1, round(users)),
        prompt_tokens=case.prompt_tokens,
        output_tokens=max(1, round(case.output_tokens)),
        shortest_fraction=case.shortest_fraction,
        token_budget=TOKEN_BUDGET * case.decode.deployment.attention_data_parallel,
        kv_tokens=kv_tokens,
        reserved_output_fraction=_RESERVED_OUTPUT.get(case.engine, 0.5),
    )


def _together(case: ServingCase) -> Outcome:
    """Return the outcome of a load test on one replica that prefills and decodes."""
    profile = stage_profile(case, case.decode)
    found = run_load_test(profile.roofline, load_test(case, kv_tokens(case, case.decode), case.users))
    step = MeanStep.of(found.decoding, case.prompt_tokens, case.output_tokens)
    power_w = step.power_w(profile) * case.decode.deployment.gpus
    rate = found.output_tokens / found.elapsed_s
    ttft_s = found.ttft_s + profile.engine_law.request_s + _gathering_s(case, found)
    return Outcome(ttft_s, found.tpot_s, power_w, power_w / rate)


def _gathering_s(case: ServingCase, found: LoadTestResult) -> float:
    """Return how long TensorRT-LLM holds a prompt back until every attention group has one. [s]

    Groups advance together, so a lone prompt would stop them all; it gives up after some
    iterations.
    """
    groups = case.decode.deployment.attention_data_parallel
    if case.engine != "trtllm" or groups == 1:
        return 0.0
    mean_output = case.output_tokens * (1.0 + case.shortest_fraction) / 2.0
    requests_per_s = found.output_tokens / mean_output / found.elapsed_s
    return min((groups - 1) / (2.0 * requests_per_s), _GATHERING_ITERATIONS * found.tpot_s)


def _apart(case: ServingCase, prefill: Stage) -> Outcome:
    """Return the outcome where prompts and answers are worked on different replicas.

    Users divide between both stages as the times demand: the answers' batch is those who do
    not wait for a prompt. In the first of the rounds, everybody's prompt is there at once.
    """
    first, second = stage_profile(case, prefill), stage_profile(case, case.decode)
    prompt = round(case.prompt_tokens * (1.0 + case.shortest_fraction) / 2.0)
    output = case.output_tokens * (1.0 + case.shortest_fraction) / 2.0
    prompt_s = _prompt_s(first, prompt)
    room = kv_tokens(case, case.decode) * case.decode.workers / (prompt + output / 2.0)
    waiting = 0.0
    ttft_s = tpot_s = 0.0
    for _ in range(20):
        decoding = max(1.0, min(case.users - waiting, room))
        batch = max(1.0, decoding / case.decode.workers)
        tpot_s = (
            second.roofline.iteration_ps(
                min(round(batch), second.roofline.most_tokens),
                round(batch),
                int(batch * (prompt + output / 2.0)),
            )
            / PS_PER_S
        )
        rate = decoding / (tpot_s * output)
        load = min(0.95, rate * prompt_s / prefill.workers)
        queue_s = prompt_s * load / (2.0 * prefill.workers * (1.0 - load))
        burst_s = case.users * prompt_s / (2.0 * prefill.workers) / ROUNDS
        ttft_s = prompt_s + queue_s + burst_s + tpot_s
        waiting = min(case.users - 1.0, rate * ttft_s)
    step = MeanStep.of(batch, 0, output)
    prefill_gpus = prefill.deployment.gpus * prefill.workers
    busy = min(1.0, rate * prompt_s / prefill.workers)
    power_w = step.power_w(second) * case.decode.deployment.gpus * case.decode.workers
    power_w += prefill_gpus * (busy * first.prefill_power_w + (1.0 - busy) * first.idle_power_w)
    return Outcome(ttft_s + first.engine_law.request_s, tpot_s, power_w, power_w / (rate * output))


def _prompt_s(profile: ServingProfile, prompt: int) -> float:
    """Return the time of one prompt alone, in chunks of the budget. [s]"""
    total, done = 0, 0
    while done < prompt:
        chunk = min(profile.roofline.most_tokens, prompt - done)
        total += profile.roofline.iteration_ps(chunk, 1, 0, prefill_pairs(chunk, done))
        done += chunk
    return total / PS_PER_S


def _steady(case: ServingCase) -> Outcome:
    """Return the outcome of a steady state at a mean batch."""
    profile = stage_profile(case, case.decode)
    step = MeanStep.of(case.users, case.prompt_tokens, case.output_tokens)
    tpot_s = step.time_s(profile)
    power_w = step.power_w(profile) * case.decode.deployment.gpus
    ttft_s = _prompt_s(profile, case.prompt_tokens) + tpot_s + profile.engine_law.request_s
    return Outcome(ttft_s, tpot_s, power_w, power_w * tpot_s / case.users)


@dataclass(frozen=True)
class MeanStep:
    """The mean iteration of a steady batch: decodes, and now and then prompts beside them.

    Parameters
    ----------
    batch
        Decoding sequences. [count]
    prompts
        Prompts that come together when any come. [count]
    share
        Of iterations that hold prompts.
    """

    batch: int
    context_tokens: int
    prompt: int
    prompts: float
    share: float

    @classmethod
    def of(cls, batch: float, prompt: int, output: float) -> MeanStep:
        """Return the mean iteration of a batch whose finished answers are replaced."""
        arriving = batch / output if prompt else 0.0
        return cls(
            batch=max(1, round(batch)),
            context_tokens=int(batch * (prompt + output / 2.0)),
            prompt=prompt,
            prompts=max(1.0, arriving),
            share=min(1.0, arriving),
        )

    def _parts(self, profile: ServingProfile) -> tuple[float, float, float, int, int]:
        """Return (seconds without prompts, seconds with prompts, how many of the latter, tokens, pairs)."""
        cost = profile.roofline
        budget = cost.most_tokens
        new = max(1, round(self.prompts * self.prompt))
        plain_s = cost.iteration_ps(min(budget, self.batch), self.batch, self.context_tokens) / PS_PER_S
        # More prompts than the budget holds go over several iterations of the same kind.
        rounds = max(1.0, (new + self.batch) / budget)
        wide = min(budget, new + self.batch)
        pairs = int(self.prompts * prefill_pairs(self.prompt) / rounds)
        full_s = cost.iteration_ps(wide, self.batch, self.context_tokens, pairs) / PS_PER_S
        return plain_s, full_s, rounds, wide, pairs

    def time_s(self, profile: ServingProfile) -> float:
        """Return its time. [s]"""
        plain_s, full_s, rounds, _, _ = self._parts(profile)
        return plain_s + self.share * rounds * (full_s - plain_s)

    def loads(self, profile: ServingProfile, time_s: float | None = None) -> tuple[tuple[float, Load], ...]:
        """Return (share of the time, what one GPU does) without prompts and with them.

        Parameters
        ----------
        time_s
            Measured time in place of the modelled one, all parts alike longer. [s]
        """
        plain_s, full_s, _, wide, pairs = self._parts(profile)
        modelled_s = self.time_s(profile)
        slower = 1.0 if time_s is None else time_s / modelled_s
        plain = profile.load(plain_s * slower, self.batch, self.batch, self.context_tokens)
        if not self.prompt:
            return ((1.0, plain),)
        full = profile.load(full_s * slower, wide, self.batch, self.context_tokens, pairs)
        alone = (1.0 - self.share) * plain_s / modelled_s
        return (alone, plain), (1.0 - alone, full)

    def power_w(self, profile: ServingProfile, time_s: float | None = None) -> float:
        """Return the mean watts of one GPU over it; arguments as of `loads`. [W]"""
        return sum(weight * profile.power_w(load) for weight, load in self.loads(profile, time_s))
