"""Serving for rows of silicon points or of ML.ENERGY: time to first token, time per token, watts, joules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from analysis.estimation.case_file import Prediction, Row
from analysis.estimation.few_cores import TEN_CORES
from analysis.estimation.launch_lines import LaunchLine, launch_line
from analysis.estimation.serving_cases import CaseReader, ServingCase, Stage
from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.memory import kv_blocks
from simulator.performance.decoder_time import LONGEST_FULL_WINDOW, Deployment
from simulator.performance.power_coefficients import Load
from simulator.performance.serving import (
    PAIR_SHIFT,
    PS_PER_S,
    ServingProfile,
    prefill_pairs,
    serving_profile,
)
from simulator.performance.serving_coefficients import EngineCoefficients
from simulator.serving.closed_loop import MAX_SEQUENCES, ROUNDS, LoadTest, run_load_test

#: A file must have the columns of one source or of the other; rows say which is missing.
REQUIRED: Final[tuple[str, ...]] = ()

PREDICTED: Final = (
    "predicted_ttft_ms",
    "predicted_tpot_ms",
    "predicted_power_w",
    "predicted_joules_per_token",
    "assumed",
)

#: Widest iteration of a prefill stage and of a steady state: the engines' default. [tokens]
TOKEN_BUDGET: Final = 8192

#: Widest iteration that is tabulated, over all groups of a replica. [tokens]
_WIDEST: Final = 1 << 17

#: Memory of servers that are not load tests' (whose launch lines tell it), and graphs, activations
#: and buffers besides (AIConfigurator's system files).
_MEMORY_FRACTION: Final = 0.95
_RESERVED_BYTES: Final = 4.5e9

#: How busy prefill replicas are where a row does not say how many there are.
_BUSY_PREFILL: Final = 1.25


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


def stage_profile(
    case: ServingCase, stage: Stage, token_budget: int = TOKEN_BUDGET, captured_tokens: int | None = None
) -> ServingProfile:
    """Return time and watts of a replica of one stage."""
    return profile_of(
        case.architecture,
        case.gpu,
        stage.deployment,
        case.engine,
        case.precision,
        case.kv_precision,
        token_budget,
        case.captured_tokens if captured_tokens is None else captured_tokens,
    )


def fresh_profile(
    architecture: Architecture,
    gpu: GpuSpec,
    deployment: Deployment,
    engine: str,
    precision: str,
    kv_precision: str,
    token_budget: int,
    captured_tokens: int | None = None,
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
        domains=deployment.domains,
        engine=engine,
        precision=precision,
        kv_precision=kv_precision,
        cpu_overhead_s=0.0,
        most_tokens=max(TOKEN_BUDGET, min(_WIDEST, token_budget * deployment.attention_data_parallel)),
        captured_tokens=captured_tokens,
        engine_law=law,
    )


#: Profiles by deployment: many rows share one.
profile_of: Callable[..., ServingProfile] = lru_cache(maxsize=512)(fresh_profile)


def kv_tokens(case: ServingCase, stage: Stage, memory_fraction: float = _MEMORY_FRACTION) -> float:
    """Return the tokens that a replica can remember; LayoutError if the model does not fit.

    Every attention group has its own copy of the attention's weights and its own share of the room.
    """
    groups = stage.deployment.attention_data_parallel
    blocks = kv_blocks(
        case.architecture,
        gpu_memory_bytes=case.gpu.memory_bytes,
        tensor_parallel=stage.deployment.tensor_parallel,
        attention_data_parallel=groups,
        precision=case.precision,
        kv_precision=case.kv_precision,
        token_budget=TOKEN_BUDGET,
        memory_fraction=memory_fraction,
        reserved_bytes=_RESERVED_BYTES,
    )
    # Windowed layers give back what left their window, so that full ones have the room.
    windowed = 0.0
    if 0 < case.architecture.sliding_window <= LONGEST_FULL_WINDOW:
        windowed = case.architecture.windowed_fraction
    return 16.0 * blocks * groups / (1.0 - windowed)


def case_line(case: ServingCase) -> LaunchLine:
    """Return how the engine of a load test was started."""
    return launch_line(
        case.engine,
        case.gpu,
        case.architecture,
        case.decode.deployment,
        case.precision,
        (case.prompt_tokens, round(case.output_tokens)),
        round(case.users),
        origin=case.origin,
        release=case.release,
        measured_on=case.measured_on,
    )


def load_test(case: ServingCase, line: LaunchLine, law: EngineCoefficients, kv_tokens: float) -> LoadTest:
    """Return the load test of a case on one replica."""
    users = max(1, round(case.users))
    places = MAX_SEQUENCES if line.places_short is None else max(1, users - line.places_short)
    return LoadTest(
        users=users,
        prompt_tokens=case.prompt_tokens,
        output_tokens=max(1, round(case.output_tokens)),
        shortest_fraction=case.shortest_fraction,
        token_budget=line.token_budget * case.decode.deployment.attention_data_parallel,
        max_sequences=places,
        kv_tokens=kv_tokens,
        reserved_output_fraction=line.reserved_output_fraction,
        mixed=line.mixed,
        hold=line.hold,
        request_s=law.request_s,
        prompt_token_s=law.prompt_token_s,
        distinct_prompts=_remembered(case, line, kv_tokens),
        whole_prompts=line.whole_prompts,
        compiles_s=line.compiles_s,
        compiled_tokens=line.compiled_tokens,
    )


def _remembered(case: ServingCase, line: LaunchLine, kv_tokens: float) -> int | None:
    """Return after how many prompts all others are remembered; None: never.

    Prompts that come in turn are all forgotten before they come again unless all of them fit
    beside what is running.
    """
    if line.distinct_prompts is None:
        return None
    running = case.users * (case.prompt_tokens + case.output_tokens)
    fits = line.distinct_prompts * case.prompt_tokens + running <= kv_tokens
    return line.distinct_prompts if fits else None


def _together(case: ServingCase) -> Outcome:
    """Return the outcome of a load test on one replica that prefills and decodes."""
    line = case_line(case)
    profile = stage_profile(case, case.decode, line.token_budget, line.captured_tokens)
    test = load_test(case, line, profile.engine_law, kv_tokens(case, case.decode, line.memory_fraction))
    found = run_load_test(profile.roofline, test)
    groups = case.decode.deployment.attention_data_parallel
    mean = (1.0 + case.shortest_fraction) / 2.0
    step = MeanStep.of(found.decoding, round(mean * case.prompt_tokens), mean * case.output_tokens, groups)
    power_w = step.power_w(profile) * case.decode.deployment.gpus
    rate = found.output_tokens / found.elapsed_s
    return Outcome(found.ttft_s, found.tpot_s, power_w, power_w / rate)


def _apart(case: ServingCase, prefill: Stage) -> Outcome:
    """Return the outcome where prompts and answers are worked on different replicas.

    Users are where the times put them: X requests a second go round, X x (time per answer) of them
    decode, the rest waits for or works on a prompt, and X is at most what the prefill replicas can
    do. In the first of the rounds, everybody's prompt is there at once.
    """
    first, second = stage_profile(case, prefill), stage_profile(case, case.decode)
    prompt = round(case.prompt_tokens * (1.0 + case.shortest_fraction) / 2.0)
    output = case.output_tokens * (1.0 + case.shortest_fraction) / 2.0
    # A busy replica reads as many prompts at once as its budget holds.
    groups = prefill.deployment.attention_data_parallel
    fitting = max(1, TOKEN_BUDGET // prompt)
    alone_s = prompts_s(first, prompt, 1)
    each_s = prompts_s(first, prompt, groups, fitting) / (groups * fitting)
    room = kv_tokens(case, case.decode) * case.decode.workers / (prompt + output / 2.0)
    room = min(room, case.places)
    overhead_s = first.engine_law.request_s + first.engine_law.handover_s
    workers = prefill.workers
    decoding = max(1.0, min(case.users / 2.0, room))
    for _ in range(60):
        batch = max(1.0, decoding / case.decode.workers)
        tpot_s = (
            second.roofline.iteration_ps(
                min(round(batch), second.roofline.most_tokens),
                round(batch),
                int(batch * (prompt + output / 2.0)),
            )
            / PS_PER_S
        )
        answer_s = tpot_s * output
        rate = min(room, case.users) / answer_s
        if not prefill.workers:
            workers = max(1, math.ceil(rate * each_s / _BUSY_PREFILL))
        most = workers / each_s
        load = min(0.95, rate / most)
        queue_s = each_s * load / (2.0 * workers * (1.0 - load))
        unhurried = case.users / (overhead_s + alone_s + queue_s + answer_s)
        rate = min(most, unhurried, rate)
        decoding = 0.5 * (decoding + max(1.0, min(room, rate * answer_s)))
    waiting_s = max(overhead_s + alone_s + queue_s, case.users / rate - answer_s)
    # In the first round the last user waits until the replicas have read all prompts.
    burst_s = max(0.0, case.users / most / 2.0 - waiting_s) / ROUNDS
    step = MeanStep.of(batch, prompt, output, reads=False)
    prefill_gpus = prefill.deployment.gpus * workers
    busy = min(1.0, rate / most)
    power_w = step.power_w(second) * case.decode.deployment.gpus * case.decode.workers
    reading_w = first.prompt_power_w(groups * min(TOKEN_BUDGET, fitting * prompt))
    power_w += prefill_gpus * (busy * reading_w + (1.0 - busy) * first.idle_power_w)
    return Outcome(waiting_s + burst_s + tpot_s, tpot_s, power_w, power_w / (rate * output))


def prompts_s(profile: ServingProfile, prompt: int, busy: int, together: int = 1) -> float:
    """Return the time of prompts that start together, in chunks of the budget. [s]

    Parameters
    ----------
    prompt
        Tokens of each. [tokens]
    busy
        Attention groups that have prompts. [count]
    together
        Prompts of each of these. [count]
    """
    cost = profile.roofline
    groups = cost.attention_groups
    most = cost.most_tokens // groups
    experts_ps = np.zeros_like(cost.tokens_ps) if cost.experts_ps is None else cost.experts_ps
    total = done = 0
    while done < prompt:
        chunk = min(most // together, prompt - done)
        wide = chunk * together
        total += int(cost.tokens_ps[wide * groups]) - int(experts_ps[wide * groups])
        total += int(experts_ps[wide * busy]) + cost.sequence_ps * groups * together
        total += cost.pair_ps_1024 * groups * together * prefill_pairs(chunk, done) >> PAIR_SHIFT
        done += chunk
    return total / PS_PER_S


def _steady(case: ServingCase) -> Outcome:
    """Return the outcome of a steady state at a mean batch."""
    profile = stage_profile(case, case.decode)
    groups = case.decode.deployment.attention_data_parallel
    step = MeanStep.of(case.users, case.prompt_tokens, case.output_tokens, groups)
    tpot_s = step.time_s(profile)
    if case.few_cores:
        tpot_s = TEN_CORES.step_s(tpot_s, case.users, case.output_tokens)
    power_w = step.power_w(profile, tpot_s) * case.decode.deployment.gpus
    ttft_s = prompts_s(profile, case.prompt_tokens, 1) + tpot_s + profile.engine_law.request_s
    return Outcome(ttft_s, tpot_s, power_w, power_w * tpot_s / case.users)


@dataclass(frozen=True)
class MeanStep:
    """The mean iteration of a steady batch: decodes, and now and then prompts beside them.

    Answers end, and are replaced, independently of each other: prompts come as a Poisson number.

    Parameters
    ----------
    batch
        Decoding sequences. [count]
    prompts
        Prompts that come together when any come. [count]
    share
        Of iterations that hold prompts.
    widest
        Of these prompts, those of the attention group that has most of them. [count]
    """

    batch: int
    context_tokens: int
    prompt: int
    prompts: float
    share: float
    widest: float

    @classmethod
    def of(cls, batch: float, prompt: int, output: float, groups: int = 1, *, reads: bool = True) -> MeanStep:
        """Return the mean iteration of a batch whose finished answers are replaced.

        ``reads``: prompts are read here; else they are remembered only.
        """
        context_tokens = int(batch * (prompt + output / 2.0))
        prompt = prompt if reads else 0
        arriving = batch / output if prompt else 0.0
        share = -math.expm1(-arriving)
        together = arriving / share if prompt else 1.0
        return cls(
            batch=max(1, round(batch)),
            context_tokens=context_tokens,
            prompt=prompt,
            prompts=together,
            share=share,
            widest=together if groups == 1 or not prompt else _largest(arriving / groups, groups) / share,
        )

    def _parts(self, profile: ServingProfile) -> tuple[float, float, float, int, int]:
        """Return (seconds without prompts, seconds with prompts, how many of the latter, tokens, pairs)."""
        cost = profile.roofline
        budget, groups = cost.most_tokens, cost.attention_groups
        plain_s = cost.iteration_ps(min(budget, self.batch), self.batch, self.context_tokens) / PS_PER_S
        all_tokens = max(1, round(self.prompts * self.prompt)) + self.batch
        # As many as there were if all groups had as many as the one that has most.
        even_tokens = max(all_tokens, round(groups * self.widest * self.prompt) + self.batch)
        # More prompts than the budget holds go over several iterations of the same kind.
        rounds = max(1.0, even_tokens / budget)
        wide, even = min(budget, all_tokens), min(budget, even_tokens)
        pairs = int(self.prompts * prefill_pairs(self.prompt) / rounds)
        even_pairs = int(groups * self.widest * prefill_pairs(self.prompt) / rounds)
        full_s = cost.iteration_ps(even, self.batch, self.context_tokens, even_pairs) / PS_PER_S
        if cost.experts_ps is not None:
            full_s -= float(cost.experts_ps[even] - cost.experts_ps[wide]) / PS_PER_S
            even = wide
        return plain_s, full_s, rounds, even, pairs

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


def _largest(mean: float, groups: int) -> float:
    """Return the mean of the largest of so many independent Poisson numbers."""
    total, below, chance, count = 0.0, 0.0, math.exp(-mean), 0
    while below < 1.0 - 1e-12 and chance > 0.0:
        below = min(1.0, below + chance)
        total += 1.0 - below**groups
        count += 1
        chance *= mean / count
    return total
