"""Shapes of the models that rows name: from the catalog, from their columns, from their words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from analysis.calibration.training_rows import Row, Shapes
from simulator.catalog.entries import ModelSpec
from simulator.catalog.hugging_face import SUFFIX, read_model
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.foundation.names import hint

#: Column of ``models.csv`` -> field of a catalog entry.
_FIELDS: Final = {
    "layers": "layers",
    "hidden": "hidden",
    "heads": "heads",
    "kv_heads": "kv_heads",
    "head_dim": "head_dim",
    "ffn": "ffn",
    "vocab": "vocab",
    "experts": "experts",
    "topk": "experts_per_token",
    "expert_ffn": "expert_ffn",
    "shared_experts": "shared_experts",
    "shared_expert_ffn": "shared_expert_ffn",
    "dense_layers": "dense_layers",
    "q_lora_rank": "q_lora_rank",
    "kv_lora_rank": "kv_lora_rank",
    "qk_nope_head_dim": "qk_nope_head_dim",
    "qk_rope_head_dim": "qk_rope_head_dim",
    "v_head_dim": "v_head_dim",
    "mtp_layers": "mtp_layers",
    "sliding_window": "sliding_window_tokens",
}

#: What the ``ffn`` column of a model with experts says in words.
_WORDS: Final = {
    "ffn": r"dense (\d+)",
    "expert_ffn": r"expert (\d+)",
    "experts": r"(\d+) experts",
    "topk": r"top-?(\d+)",
    "shared_experts": r"(\d+) shared",
    "shared_expert_ffn": r"shared \((\d+)\)",
    "dense_layers": r"first (\d+) layers? dense",
}

#: Below this difference, a parameter count tells gated from plain feed-forward layers.
_COUNT_TOLERANCE: Final = 0.1


class CatalogShapes(Shapes):
    """Architectures of the models that rows name; a row's own columns win over the catalog's.

    Parameters
    ----------
    catalog
        Models by name and by their other names, letters' case and separators aside. A name that
        ends in ``.json`` is a ``config.json``, from the folder that the command runs in.
    """

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self._known: dict[str, ModelSpec] = {}
        self._files: dict[str, ModelSpec] = {}
        self._names = list(catalog.names("models"))
        for name in self._names:
            spec = catalog.model(name)
            for word in (name, *spec.aliases):
                self._known.setdefault(_folded(word), spec)

    def spec(self, row: Row) -> ModelSpec | None:
        """Return the catalog's entry of a row's model, unless its columns say another shape."""
        name = row["model"]
        if name.endswith(SUFFIX):
            return self._of_file(name)
        spec = self._known.get(_folded(name)) or self._known.get(_folded(re.sub(r"\(.*", "", name)))
        if spec is None:
            return None
        said = {column: row.get(column, "") for column in ("layers", "hidden", "heads")}
        same = all(not text or _count(text) == getattr(spec, column) for column, text in said.items())
        return spec if same else None

    def _of_file(self, name: str) -> ModelSpec:
        """Return the model of a ``config.json``, read once."""
        if name not in self._files:
            self._files[name] = read_model(Path(name))
        return self._files[name]

    def of(self, row: Row) -> Row:
        """Return what is known of a row's model, by the columns of ``models.csv``.

        Raises
        ------
        LayoutError
            If neither the catalog nor the row's columns give the shape.
        """
        spec = self.spec(row)
        words = _in_words(row.get("ffn", ""))
        if spec is not None:
            found = {column: str(getattr(spec, field) or "") for column, field in _FIELDS.items()}
            found["gated_mlp"] = str(int(spec.gated_mlp))
            found["tied_embeddings"] = str(int(spec.tied_embeddings))
            if row.get("ffn", "").isdecimal():
                found["ffn"] = row["ffn"]
            return found
        missing = [column for column in ("layers", "hidden", "heads") if not _count(row.get(column, ""))]
        if not (_count(row.get("ffn", "")) or words):
            missing.append("ffn")
        name = row["model"]
        if missing:
            raise LayoutError(
                f"model {name!r}: {', '.join(missing)} not given, and no such model in the catalog; "
                f"{hint(name, self._names, limit=6)}"
            )
        if "MLA" in row.get("kv_heads", "").upper():
            raise LayoutError(
                f"model {name!r}: latent attention needs its ranks, and no such model is in the "
                f"catalog; {hint(name, self._names, limit=6)}"
            )
        if words:
            return {**words, "gated_mlp": "1", "shared_expert_ffn": words.get("shared_expert_ffn", "")}
        return {"gated_mlp": "1" if _is_gated(row) else "0"}

    def layers(self, row: Row) -> int:
        """Return the layers of a row's model. [count]"""
        return _count(row.get("layers", "") or self.of(row).get("layers", ""))

    def assumed(self, row: Mapping[str, str]) -> list[str]:
        """Return in words what of the shape is not in the row."""
        spec = self.spec(row)
        if spec is None:
            said = [] if row.get("vocab") else ["vocab as is usual"]
            if not _in_words(row.get("ffn", "")):
                said.append(f"feed-forward {'gated' if _is_gated(row) else 'not gated'}")
            return said
        blank = [column for column in ("layers", "hidden", "heads", "ffn", "vocab") if not row.get(column)]
        if blank or spec.kind == "moe":
            return [f"shape of {spec.name} from the catalog"]
        return []


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9.()]", "", name.casefold())


def _count(text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        return 0


def _in_words(text: str) -> dict[str, str]:
    """Return the counts that a description of experts gives; empty where it describes none."""
    if "expert" not in text.casefold():
        return {}
    found = {column: re.search(pattern, text) for column, pattern in _WORDS.items()}
    return {column: match[1] for column, match in found.items() if match}


def _is_gated(row: Row) -> bool:
    """Return whether the feed-forward layers have three matrices.

    By the parameter count where the row gives one; else by the family, else by the width, which
    is four times the hidden size where there are two matrices.
    """
    hidden, layers, ffn = _count(row["hidden"]), _count(row["layers"]), _count(row["ffn"])
    family = row.get("family", "").casefold()
    try:
        stated = float(row.get("params_B") or 0.0) * 1e9
    except ValueError:
        stated = 0.0
    if stated:
        heads = _count(row["heads"])
        grouped = (_count(row.get("kv_heads", "")) or heads) / heads
        rest = layers * hidden * hidden * (2 + 2 * grouped) + hidden * _count(row.get("vocab", ""))
        errors = [abs((rest + layers * matrices * hidden * ffn) / stated - 1) for matrices in (2, 3)]
        if min(errors) < _COUNT_TOLERANCE:
            return errors[1] < errors[0]
    if family.startswith(("gpt", "mpt")):
        return False
    return family.startswith("llama") or ffn != 4 * hidden
