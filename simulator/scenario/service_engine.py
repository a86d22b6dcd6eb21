"""The engine of a service: how it batches, in which formats it computes, its numbers and its drafts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from simulator.foundation.units import GIB
from simulator.scenario.branch import Branch
from simulator.scenario.fields import (
    Bytes,
    Count,
    FilePath,
    OneOf,
    PositiveShare,
    Share,
    Span,
    Truth,
    Words,
    mistake,
)

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
