"""What iterations cost one replica, as plain integers that the twin's loop reads quickly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from simulator.performance.serving import PAIR_SHIFT, IterationTime
from simulator.serving.crowd import ReplicaProfile

#: Mean context is rounded to this for the watts of a decode batch. [tokens]
_CONTEXT_BUCKET: Final = 512

#: Lengths, evenly apart as logarithms, at which the watts of prompts are looked up.
_PROMPT_PLACES: Final = 64


class ReplicaCosts:
    """A profile at one clock and a number of GPUs, unpacked; powers in whole milliwatts.

    `tokens_ps`, `sequence_ps`, `context_ps`, `mixed_context_ps` and `pair_ps_1024` are those of
    `performance.serving.IterationTime`, empty and 0 where the profile's costs are a measured
    table, which is asked for every iteration.

    Where several groups of GPUs advance together (`groups`), all of this is one group's: its own
    tokens, sequences and context, its own GPUs, and every other group as busy as it is.
    """

    __slots__ = (
        "_decode_mw",
        "_gpus",
        "context_ps",
        "groups",
        "idle_mw",
        "leaps",
        "mixed_context_ps",
        "pair_ps_1024",
        "profile",
        "prompt_mw",
        "sequence_ps",
        "shared_ps",
        "tokens_ps",
    )

    def __init__(self, profile: ReplicaProfile, gpus: int) -> None:
        iteration = profile.iteration
        self.profile = profile
        self.leaps = iteration.linear_in_context
        """Whether a run of decodes has a closed form."""
        self.tokens_ps: list[int] = []
        self.sequence_ps = self.context_ps = self.pair_ps_1024 = self.mixed_context_ps = 0
        self.groups = 1
        self.shared_ps: list[int] = []
        """By the new tokens of all groups, the part of `tokens_ps` that goes with those; empty: no part."""
        if isinstance(iteration, IterationTime):
            groups = self.groups = iteration.attention_groups
            self.tokens_ps = iteration.tokens_ps[::groups].tolist()
            self.sequence_ps = groups * int(iteration.sequence_ps)
            self.context_ps = groups * int(iteration.context_ps)
            self.mixed_context_ps = groups * iteration.beside_prompts_ps
            self.pair_ps_1024 = groups * int(iteration.pair_ps_1024)
            if groups > 1 and iteration.experts_ps is not None:
                self.shared_ps = iteration.experts_ps.tolist()
        self._gpus = gpus // self.groups
        self.idle_mw = self._milliwatts(profile.idle_power_w)
        self.prompt_mw = self._prompt_mw(iteration.most_tokens // self.groups)
        """By new tokens of an iteration, what it draws when all of them are of prompts."""
        self._decode_mw: dict[tuple[int, int], int] = {}

    def iteration_ps(self, decodes: int, context_tokens: int, chunks: Sequence[tuple[int, int]]) -> int:
        """Return the time of one iteration. [ps]

        Parameters
        ----------
        decodes, context_tokens
            Sequences that decode, and what they remember in all.
        chunks
            Of each prompt chunk: new tokens, and earlier ones of the same prompt. [tokens]
        """
        if not self.tokens_ps:
            return self.profile.iteration.step_ps(decodes, context_tokens, chunks)
        tokens = pairs = 0
        for new, earlier in chunks:
            tokens += new
            pairs += new * earlier + new * (new + 1) // 2
        return (
            self.tokens_ps[tokens + decodes]
            + self.sequence_ps * (len(chunks) + decodes)
            + (self.mixed_context_ps if chunks else self.context_ps) * context_tokens
            + (self.pair_ps_1024 * pairs >> PAIR_SHIFT)
        )

    def checking_ps(
        self,
        decodes: int,
        context_tokens: int,
        chunks: Sequence[tuple[int, int]],
        drafts: int,
        draft_cost_fraction: float,
    ) -> int:
        """Return the time of one iteration in which every decode checks drafts. [ps]

        All tokens of the batch go through the model, the cache is read once, and guessing each
        draft takes a share of a plain decode pass.
        """
        plain_ps = self.iteration_ps(decodes, context_tokens, chunks)
        if not decodes:
            return plain_ps
        tokens = decodes + sum(new for new, _ in chunks)
        wider_ps = self.tokens_ps[tokens + decodes * drafts] - self.tokens_ps[tokens]
        guessing_ps = self.tokens_ps[decodes] * round(draft_cost_fraction * 1024) * drafts >> 10
        return plain_ps + wider_ps + guessing_ps

    def beside_ps(self, alone_ps: int, tokens: int, all_tokens: int) -> int:
        """Return what an iteration takes one of several groups, beside what the others work on. [ps]

        Parameters
        ----------
        alone_ps
            The iteration if every group had as many new tokens as this one. [ps]
        tokens, all_tokens
            New tokens of this group, and of all of them together.
        """
        if not self.shared_ps:
            return alone_ps
        shared_ps = self.shared_ps
        even_ps = self.tokens_ps[tokens]
        # No iteration is shorter than an empty one: the host's time may hide the GPUs'.
        own_ps = max(self.tokens_ps[0], even_ps - shared_ps[tokens * self.groups] + shared_ps[all_tokens])
        return alone_ps - even_ps + own_ps

    def decode_mw(self, sequences: int, context_tokens: int) -> int:
        """Return the power of a decode batch with this much context in all. [mW]"""
        bucket = (context_tokens // sequences + _CONTEXT_BUCKET // 2) // _CONTEXT_BUCKET
        key = (sequences, bucket)
        known = self._decode_mw.get(key)
        if known is None:
            mean = float(max(bucket * _CONTEXT_BUCKET, _CONTEXT_BUCKET // 2))
            known = self._milliwatts(self.profile.decode_power_w(self.groups * sequences, mean))
            self._decode_mw[key] = known
        return known

    def _prompt_mw(self, most_tokens: int) -> list[int]:
        """Return the power of iterations of 0 and more prompt tokens, straight between some of them. [mW]"""
        places = np.unique(np.rint(np.geomspace(1.0, most_tokens, _PROMPT_PLACES)).astype(np.int64))
        known = [self._milliwatts(self.profile.prompt_power_w(self.groups * place)) for place in places]
        levels = np.interp(np.arange(most_tokens + 1), places, known)
        return [int(level) for level in np.rint(levels)]

    def _milliwatts(self, gpu_w: float) -> int:
        return round(gpu_w * self._gpus * 1000.0)
