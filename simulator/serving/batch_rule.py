"""How an engine forms its batches: bounds, and a few independent choices that tell engines apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final


@dataclass(frozen=True)
class BatchRule:
    """The bounds of an engine's batches, and how it fills them. The defaults are vLLM V1's.

    Parameters
    ----------
    max_sequences
        Most sequences in a batch.
    token_budget
        Most new tokens in an iteration.
    block_tokens
        Tokens of one KV block.
    watermark_fraction
        Share of the KV blocks that admission leaves free.
    chunked
        A prompt may be cut to what is left of the budget.
    prompts_apart
        An iteration is prompts only, which go first, or decodes only.
    padded_budget
        The budget counts sequences times the longest prompt instead of the sum of prompts.
    whole_prompt
        A prompt's blocks are all taken at admission, not chunk by chunk.
    watermark_always
        The watermark holds even where nothing runs.
    spare_block
        A decode asks for a free block before it looks whether it needs one.
    admits_after_preemption
        Requests are admitted in an iteration that had to preempt.
    keeps_blocks
        Blocks given back keep what they hold until they are taken again: a request that was
        preempted finds its own.
    until_done
        A batch is formed where nothing runs, and runs until all of it is done.
    drafts, acceptance_fraction
        Tokens that a small model guesses ahead for each decode, and the chance that one is right
        if those before it were.
    draft_cost_fraction
        Time of guessing one token for the batch, as a share of one of its plain decode passes.
    draft_seed
        Whole number that decides, with a request's number and position, which drafts are right.
    """

    max_sequences: int = 256
    token_budget: int = 8192
    block_tokens: int = 16
    watermark_fraction: float = 0.0
    chunked: bool = True
    prompts_apart: bool = False
    padded_budget: bool = False
    whole_prompt: bool = False
    watermark_always: bool = False
    spare_block: bool = False
    admits_after_preemption: bool = False
    keeps_blocks: bool = True
    until_done: bool = False
    drafts: int = 0
    acceptance_fraction: float = 0.0
    draft_cost_fraction: float = 0.0
    draft_seed: int = 0

    def __post_init__(self) -> None:
        if self.max_sequences < 1 or self.block_tokens < 1:
            raise ValueError(
                f"max_sequences {self.max_sequences} and block_tokens {self.block_tokens} must be at least 1"
            )
        if self.token_budget < self.max_sequences:
            raise ValueError(
                f"token_budget {self.token_budget} is less than max_sequences {self.max_sequences}: "
                "a full batch could not decode; raise token_budget or lower max_sequences"
            )
        if self.until_done and (self.chunked or self.keeps_blocks):
            raise ValueError("prefix_caching has no effect on static batches: nobody is preempted or shares")
        if not 0 <= self.drafts <= 64 or not 0.0 <= self.acceptance_fraction <= 1.0:
            raise ValueError(
                f"drafts {self.drafts} and acceptance {self.acceptance_fraction}: expected 0 to 64 and 0 to 1"
            )
        if self.drafts and self.until_done:
            raise ValueError("static batches do not draft; use another engine")
        if self.max_sequences * (1 + self.drafts) > self.token_budget and self.drafts:
            raise ValueError(
                f"token_budget {self.token_budget} is less than max_sequences {self.max_sequences} with "
                f"{self.drafts} drafts each: a full batch could not decode; raise token_budget or lower "
                "max_sequences"
            )
        if self.chunked and self.prompts_apart:
            raise ValueError(
                "prompts_apart with chunked: no engine at hand cuts prompts and keeps them apart; set one of "
                "the two to false"
            )
        if self.padded_budget and self.chunked:
            raise ValueError("padded_budget has no effect where prompts are cut to the budget")
        if not 0.0 <= self.watermark_fraction < 1.0:
            raise ValueError(f"watermark_fraction {self.watermark_fraction} is outside [0, 1)")

    @cached_property
    def draft_thresholds(self) -> tuple[int, ...]:
        """Bounds below which 64 random bits accept at least 1, 2, ... drafts.

        A pass emits (1 - a^(k + 1)) / (1 - a) tokens in the mean (Leviathan et al., ICML 2023).
        """
        counts = range(1, self.drafts + 1)
        return tuple(int(self.acceptance_fraction**count * 2.0**64) for count in counts)

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a decode emits in the mean."""
        return 1.0 + sum(self.acceptance_fraction**count for count in range(1, self.drafts + 1))

    def watermark_blocks(self, kv_blocks: int) -> int:
        """Return how many of a replica's KV blocks admission leaves free. [blocks]"""
        return int(kv_blocks * self.watermark_fraction)

    def blocks_of(self, tokens: int) -> int:
        """Return the blocks that hold so many tokens. [blocks]"""
        return -(-tokens // self.block_tokens)

    def fits(self, prompt_tokens: int, output_tokens: int, kv_blocks: int) -> bool:
        """Return whether a request could run alone: an engine refuses longer ones at the door.

        The last token is never remembered. An engine that does not cut prompts must take a
        request that was preempted near its end as one prompt.
        """
        tokens = prompt_tokens + output_tokens - 1 + self.drafts
        if not self.chunked and (prompt_tokens if self.until_done else tokens) > self.token_budget:
            return False
        kept = self.watermark_blocks(kv_blocks) if self.watermark_always else 0
        return self.blocks_of(tokens) + kept <= kv_blocks


#: Choices of each batching rule, by the name that engines of the catalog call it.
#: vllm-v0 and sarathi are as Vidur has them (arXiv:2405.05465), vllm-v1 as of vLLM 0.19, static as
#: in FasterTransformer.
ENGINES: Final[Mapping[str, BatchRule]] = {
    "vllm-v1": BatchRule(),
    "vllm-v0": BatchRule(
        chunked=False,
        prompts_apart=True,
        padded_budget=True,
        whole_prompt=True,
        watermark_always=True,
        spare_block=True,
        keeps_blocks=False,
    ),
    "sarathi": BatchRule(
        whole_prompt=True,
        watermark_always=True,
        spare_block=True,
        admits_after_preemption=True,
        keeps_blocks=False,
    ),
    "static": BatchRule(chunked=False, keeps_blocks=False, until_done=True),
}


def batch_rule(
    engine: str,
    *,
    max_sequences: int,
    token_budget: int,
    block_tokens: int,
    watermark_fraction: float,
    **choices: Any,
) -> BatchRule:
    """Return the rule of a batching scheme with an engine's numbers.

    Parameters
    ----------
    engine
        A row of `ENGINES`.
    choices
        Fields of `BatchRule` to set otherwise than the engine does.

    Raises
    ------
    ValueError
        If there is no such row, or the numbers do not go together.
    """
    if engine not in ENGINES:
        raise ValueError(f"no batching rule {engine!r}; known: {', '.join(ENGINES)}")
    return replace(
        ENGINES[engine],
        max_sequences=max_sequences,
        token_budget=token_budget,
        block_tokens=block_tokens,
        watermark_fraction=watermark_fraction,
        **choices,
    )
