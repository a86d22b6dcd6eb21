"""A replica's time and watts as given numbers: measured tables, or constants, without a GPU model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulator.performance.serving import IterationTime
from simulator.serving.picoseconds import PS_PER_S


@dataclass(frozen=True)
class GivenReplica:
    """Iteration time and watts that somebody measured or chose.

    Parameters
    ----------
    iteration
        Integer cost of an iteration.
    idle_power_w
        Of one GPU. [W]
    prefill_power_w, prefill_w_per_token
        Watts of one GPU that works on prompts, linear in their new tokens. [W]
    decode_base_w, decode_w_per_sequence
        Watts of one GPU that decodes, linear in the batch. [W]
    clock_fraction
        Clock at which the numbers hold; other clocks stretch time and the watts above idle
        in proportion.
    """

    iteration: IterationTime
    idle_power_w: float = 100.0
    prefill_power_w: float = 600.0
    prefill_w_per_token: float = 0.0
    decode_base_w: float = 300.0
    decode_w_per_sequence: float = 1.0
    clock_fraction: float = 1.0

    def prompt_power_w(self, new_tokens: float) -> float:
        """Return watts of one GPU that works on prompts. [W]"""
        return self.prefill_power_w + self.prefill_w_per_token * new_tokens

    def decode_power_w(self, sequences: float, context_tokens: float = 0.0) -> float:
        """Return watts of one GPU that decodes; context does not matter here. [W]"""
        return self.decode_base_w + self.decode_w_per_sequence * sequences

    def at_clock(self, clock_fraction: float) -> GivenReplica:
        """Return the profile with everything slower in proportion to the clock."""
        pace = clock_fraction / self.clock_fraction
        old = self.iteration
        slow = IterationTime(
            tokens_ps=np.rint(old.tokens_ps / pace).astype(np.int64),
            sequence_ps=round(old.sequence_ps / pace),
            context_ps=round(old.context_ps / pace),
            pair_ps_1024=round(old.pair_ps_1024 / pace),
            attention_groups=old.attention_groups,
            experts_ps=None if old.experts_ps is None else np.rint(old.experts_ps / pace).astype(np.int64),
        )
        idle_w = self.idle_power_w
        return replace(
            self,
            iteration=slow,
            prefill_power_w=idle_w + pace * (self.prefill_power_w - idle_w),
            prefill_w_per_token=pace * self.prefill_w_per_token,
            decode_base_w=idle_w + pace * (self.decode_base_w - idle_w),
            decode_w_per_sequence=pace * self.decode_w_per_sequence,
            clock_fraction=clock_fraction,
        )


def linear_iteration(
    *,
    fixed_s: float,
    token_s: float = 0.0,
    sequence_s: float = 0.0,
    context_s: float = 0.0,
    pair_s: float = 0.0,
    most_tokens: int = 8192,
    attention_groups: int = 1,
    expert_token_s: float = 0.0,
) -> IterationTime:
    """Return an iteration whose time is linear in tokens, sequences, context and prompt pairs.

    Parameters
    ----------
    fixed_s
        Of every iteration. [s]
    token_s, sequence_s, context_s, pair_s
        Of each new token, sequence, remembered token read by a decode, and pair of a prompt
        token and one it looks at. [s]
    most_tokens
        Widest iteration. [tokens]
    attention_groups
        Groups that advance together; all else is for a batch spread evenly over them.
    expert_token_s
        Of each new token, whichever group it is of: what experts on all GPUs take. [s]
    """
    tokens = np.arange(most_tokens + 1, dtype=np.float64)
    experts_ps = np.rint(expert_token_s * tokens * PS_PER_S).astype(np.int64)
    return IterationTime(
        tokens_ps=np.rint((fixed_s + token_s * tokens) * PS_PER_S).astype(np.int64) + experts_ps,
        sequence_ps=round(sequence_s * PS_PER_S),
        context_ps=round(context_s * PS_PER_S),
        pair_ps_1024=round(pair_s * PS_PER_S * 1024.0),
        attention_groups=attention_groups,
        experts_ps=experts_ps,
    )
