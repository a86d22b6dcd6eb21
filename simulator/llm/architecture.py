"""The shape of a transformer: what its sizes say about weights and remembered tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from simulator.catalog.entries import ModelSpec
from simulator.foundation.errors import CatalogError


@dataclass(frozen=True)
class Architecture:
    """Sizes of a decoder-only transformer, dense or with experts.

    Biases and norm gains (under 0.1 % of the weights) are not counted.

    Parameters
    ----------
    layers, hidden, heads, kv_heads, head_dim
        Depth, model width, query heads, key-value heads, size of a head. [count]
    ffn
        Width of the feed-forward layer of a dense block. [count]
    gated_mlp
        True if the feed-forward layer has three matrices (SwiGLU) instead of two.
    vocab, tied_embeddings
        Vocabulary, and whether input and output embedding are one matrix. [count]
    learned_positions
        Rows of a learned position embedding; 0 for rotary positions. [count]
    experts, experts_per_token, expert_ffn, shared_ffn
        Routed experts, how many a token visits, the width of one, and the width of all
        shared experts together. [count]
    dense_layers
        Layers (the first ones) that have a dense block although the model has experts.
    q_rank, kv_rank, rope_dim, value_dim
        Ranks and sizes of latent attention (MLA); 0 for ordinary attention. With MLA
        ``head_dim`` is the part of a query-key head without position.
    index_heads, index_dim, index_tokens
        Sparse attention: heads of the indexer that scores remembered tokens by a key of its own,
        the width of both, and how many tokens it picks; 0 for full attention. Its weights are not
        counted. [count]
    sliding_window, windowed_fraction
        Tokens a windowed layer looks back on, 0 for all, and the fraction of such layers.
    mtp_layers
        Layers that training adds to predict further tokens, each with a pass of the output
        embedding; not part of the served model. [count]
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    gated_mlp: bool = True
    tied_embeddings: bool = False
    learned_positions: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    value_dim: int = 0
    index_heads: int = 0
    index_dim: int = 0
    index_tokens: int = 0
    sliding_window: int = 0
    windowed_fraction: float = 1.0
    mtp_layers: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that contradict each other."""
        for field in ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocab"):
            if getattr(self, field) < 1:
                raise CatalogError(
                    f"model {self.name}: {field} is {getattr(self, field)}; expected at least 1"
                )
        if not self.ffn and not self.experts:
            raise CatalogError(f"model {self.name}: ffn is 0 and there are no experts")
        if self.heads % self.kv_heads:
            raise CatalogError(
                f"model {self.name}: heads {self.heads} is not a multiple of kv_heads {self.kv_heads}"
            )
        if self.experts and not (0 < self.experts_per_token <= self.experts and self.expert_ffn):
            raise CatalogError(
                f"model {self.name}: {self.experts} experts need experts_per_token in "
                f"1..{self.experts} and expert_ffn"
            )

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> Architecture:
        """Return the architecture of a catalog entry."""
        every = spec.full_attention_every
        windowed = (1.0 - 1.0 / every if every else 1.0) if spec.sliding_window_tokens else 0.0
        return cls(
            name=spec.name,
            layers=spec.layers,
            hidden=spec.hidden,
            heads=spec.heads,
            kv_heads=spec.kv_heads,
            head_dim=spec.qk_nope_head_dim or spec.head_dim,
            ffn=spec.ffn,
            vocab=spec.vocab,
            gated_mlp=spec.gated_mlp,
            tied_embeddings=spec.tied_embeddings,
            learned_positions=spec.learned_positions,
            experts=spec.experts,
            experts_per_token=spec.experts_per_token,
            expert_ffn=spec.expert_ffn,
            shared_ffn=spec.shared_experts * (spec.shared_expert_ffn or spec.expert_ffn),
            dense_layers=spec.dense_layers,
            q_rank=spec.q_lora_rank,
            kv_rank=spec.kv_lora_rank,
            rope_dim=spec.qk_rope_head_dim,
            value_dim=spec.v_head_dim,
            index_heads=spec.index_heads,
            index_dim=spec.index_head_dim,
            index_tokens=spec.index_top_tokens,
            sliding_window=spec.sliding_window_tokens,
            windowed_fraction=windowed,
            mtp_layers=spec.mtp_layers,
        )

    @property
    def is_latent(self) -> bool:
        """Return whether attention is latent (MLA)."""
        return self.kv_rank > 0

    @property
    def query_width(self) -> int:
        """Return heads times the size of a query head. [count]"""
        return self.heads * (self.head_dim + self.rope_dim)

    @property
    def value_width(self) -> int:
        """Return heads times the size of a value head. [count]"""
        return self.heads * (self.value_dim or self.head_dim)

    @property
    def mlp_matrices(self) -> int:
        """Return the matrices of one feed-forward layer: 3 if gated, else 2. [count]"""
        return 3 if self.gated_mlp else 2

    @property
    def moe_layers(self) -> int:
        """Return the layers that have experts. [count]"""
        return self.layers - self.dense_layers if self.experts else 0

    @cached_property
    def attention_parameters(self) -> float:
        """Return the weights of attention in one layer. [count]"""
        out = float(self.value_width * self.hidden)
        if self.is_latent:
            query = (
                self.hidden * self.q_rank + self.q_rank * self.query_width
                if self.q_rank
                else self.hidden * self.query_width
            )
            keys = self.hidden * (self.kv_rank + self.rope_dim)
            expand = self.kv_rank * (self.heads * self.head_dim + self.value_width)
            return out + query + keys + expand
        return out + self.hidden * (self.query_width + 2 * self.kv_heads * self.head_dim)

    @cached_property
    def dense_mlp_parameters(self) -> float:
        """Return the weights of one dense feed-forward layer. [count]"""
        return float(self.mlp_matrices * self.hidden * self.ffn)

    @cached_property
    def expert_parameters(self) -> float:
        """Return the weights of one expert. [count]"""
        return float(self.mlp_matrices * self.hidden * self.expert_ffn)

    @cached_property
    def layer_parameters(self) -> float:
        """Return the weights of all layers, without embeddings. [count]"""
        dense_layers = self.layers - self.moe_layers
        total = self.layers * self.attention_parameters + dense_layers * self.dense_mlp_parameters
        shared = self.mlp_matrices * self.hidden * self.shared_ffn
        router = self.hidden * self.experts
        return total + self.moe_layers * (self.experts * self.expert_parameters + shared + router)

    @cached_property
    def active_layer_parameters(self) -> float:
        """Return the weights of all layers that one token meets. [count]"""
        idle = self.experts - self.experts_per_token
        return self.layer_parameters - self.moe_layers * idle * self.expert_parameters

    @cached_property
    def embedding_parameters(self) -> float:
        """Return the weights of one embedding matrix. [count]"""
        return float(self.vocab * self.hidden)

    @cached_property
    def parameters(self) -> float:
        """Return all weights. [count]"""
        copies = 1 if self.tied_embeddings else 2
        positions = self.learned_positions * self.hidden
        return self.layer_parameters + copies * self.embedding_parameters + positions

    @cached_property
    def active_parameters(self) -> float:
        """Return the weights that one token meets, both embeddings among them. [count]"""
        copies = 1 if self.tied_embeddings else 2
        return self.active_layer_parameters + copies * self.embedding_parameters

    @cached_property
    def matmul_parameters(self) -> float:
        """Return the weights one token is multiplied with: active, without the look-up. [count]"""
        return self.active_layer_parameters + self.embedding_parameters

    @cached_property
    def mtp_matmul_parameters(self) -> float:
        """Return the weights that further predictions multiply one trained token with. [count]

        Each has a layer like the last one, a matrix that joins the last output with the next
        token's embedding, and a pass of the output embedding.
        """
        if not self.mtp_layers:
            return 0.0
        if self.experts:
            shared = self.mlp_matrices * self.hidden * self.shared_ffn + self.hidden * self.experts
            block = self.experts_per_token * self.expert_parameters + shared
        else:
            block = self.dense_mlp_parameters
        join = 2.0 * self.hidden**2
        return self.mtp_layers * (self.attention_parameters + block + join + self.embedding_parameters)

    @cached_property
    def kv_values_per_token(self) -> float:
        """Return the numbers remembered for each token of context, all layers. [count]"""
        if self.is_latent:
            return float(self.layers * (self.kv_rank + self.rope_dim))
        return float(2 * self.layers * self.kv_heads * self.head_dim)

    def attended_tokens(self, context_tokens: float) -> float:
        """Return the mean context a layer looks at, given windows. [tokens]"""
        if not self.sliding_window or context_tokens <= self.sliding_window:
            return context_tokens
        windowed = self.windowed_fraction
        return windowed * self.sliding_window + (1.0 - windowed) * context_tokens
