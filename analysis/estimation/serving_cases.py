"""Measured serving runs as cases: rows of silicon points and of ML.ENERGY, read alike.

Silicon points are load tests at a fixed concurrency; ML.ENERGY rows are steady states at a mean
batch. What a row does not say gets the default of its source, which ``assumed`` tells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from analysis.estimation.launch_lines import Origin
from simulator.catalog.entries import GpuSpec, ModelSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError, UnknownNameError
from simulator.foundation.names import hint
from simulator.llm.architecture import Architecture
from simulator.llm.memory import weight_bytes
from simulator.performance.decoder_time import Deployment

Row = Mapping[str, str]

#: Columns that tell the two kinds of rows apart.
SILICON: Final = ("backend", "model_path", "system", "mode", "isl", "osl")
ENERGY: Final = ("model_id", "gpu_model", "num_gpus", "avg_batch_size", "avg_output_len", "task")

#: Words of a published model id that change neither shape nor number format.
_HARMLESS: Final = frozenset(
    (
        *("instruct", "chat", "base", "it", "hf", "thinking", "preview", "text", "turbo", "v0.1", "v0.3"),
        *("bf16", "fp8", "fp4", "nvfp4", "mxfp4", "int4", "awq", "gptq", "w4a16", "w8a8", "dynamic"),
    )
)

#: ML.ENERGY v3 ran vLLM 0.11, whose kernels for Blackwell were young.
ENERGY_ENGINE: Final = "vllm-0.11"

#: What its launch lines for DeepSeek on B200 asked for besides (``VLLM_USE_FLASHINFER_MOE_FP8``).
_FLASHINFER_ENGINE: Final = "vllm-0.11-flashinfer"

#: vLLM captures graphs for twice as many tokens as it takes sequences, but for no more than these
#: (``VllmConfig._set_cudagraph_sizes``). [tokens]
_MOST_CAPTURED: Final = 512

#: Mean prompt of each ML.ENERGY text task; its table does not say. Estimate. [tokens]
_PROMPT_TOKENS: Final = {"gpqa": 250, "lm-arena-chat": 250, "sourcegraph-fim": 1500}

#: Share of a GPU's memory that weights may take where a row does not say how many GPUs there are.
_WEIGHT_SHARE: Final = 0.75

#: The sources of AIConfigurator's own runs, and those of InferenceX's runs beside them.
_OWN_RUNS: Final = "aic-auto-gap"
_LOAD_TESTS: Final = "silicon_concurrency="

#: What ``assumed`` says of a row that does not say who ran it, and of one without pools.
_DEFAULTS: Final = "started with its engine's defaults"
USUAL_REPLICAS: Final = "replicas of both stages as they usually are"

#: Load generators of the silicon points draw lengths evenly from this fraction up to the longest.
_SHORTEST_FRACTION: Final = 0.8


@dataclass(frozen=True)
class Stage:
    """Replicas of one kind; no workers: as many as the other stage's rate asks for."""

    deployment: Deployment
    workers: int = 1


@dataclass(frozen=True)
class ServingCase:
    """One measured run, ready to be predicted.

    Parameters
    ----------
    users
        Requests under way; for a steady state the mean batch.
    prefill
        Where prompts are worked apart from decoding; None: together.
    steady
        A steady state at a mean batch, not a load test from a standstill.
    origin
        Who ran a load test, which says how its engine was started (``launch_lines``).
    captured_tokens
        Widest iteration whose launches were captured in a graph; None: the engine's widest. [tokens]
    few_cores
        Client and front ends share so few cores with the engine that it waits (``few_cores``).
    places
        Sequences that all decoding replicas together may run at once. [count]
    release, measured_on
        Version of the engine, and day of the measurement (ISO), as far as they are said.
    """

    label: str
    group: str
    model: str
    architecture: Architecture
    gpu: GpuSpec
    engine: str
    precision: str
    kv_precision: str
    decode: Stage
    prefill: Stage | None
    users: float
    prompt_tokens: int
    output_tokens: float
    shortest_fraction: float
    steady: bool
    assumed: tuple[str, ...]
    origin: Origin = "unknown"
    captured_tokens: int | None = None
    few_cores: bool = False
    places: float = math.inf
    release: str = ""
    measured_on: str = ""


class CaseReader:
    """Reads rows of both kinds; models and GPUs are looked up in a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._models: dict[str, Architecture] = {}
        self._folded: dict[str, ModelSpec] = {}
        for name in catalog.names("models"):
            spec = catalog.model(name)
            for word in (name, *spec.aliases):
                self._folded.setdefault(_fold(word), spec)

    def case(self, row: Row) -> ServingCase:
        """Return the case of a row; a DatahallError says what keeps it from being predicted."""
        if all(column in row for column in SILICON):
            return self._silicon(row)
        return self._energy(row)

    def architecture(self, model_id: str) -> Architecture:
        """Return the shape behind a published model id.

        Raises
        ------
        UnknownNameError
            With the nearest name in the catalog.
        """
        if model_id not in self._models:
            self._models[model_id] = Architecture.from_spec(self._spec(model_id))
        return self._models[model_id]

    def _spec(self, model_id: str) -> ModelSpec:
        words = model_id.rpartition("/")[2].casefold().replace("_", "-").split("-")
        while words:
            spec = self._folded.get(_fold("-".join(words)))
            if spec is not None:
                return spec
            if not (words[-1] in _HARMLESS or re.fullmatch(r"\d{4}|v\d+(\.\d+)?", words[-1])):
                break
            words.pop()
        raise UnknownNameError(f"no model {model_id!r} in the catalog", hint(model_id, self._folded, limit=6))

    def gpu(self, name: str) -> GpuSpec:
        """Return a GPU by a source's name for it; UnknownNameError with the nearest."""
        known = self.catalog.names("gpus")
        plain = name.casefold().replace("_", "-")
        bare = plain.removesuffix("-sxm")
        for candidate in (plain, bare, f"{bare}-sxm", f"{bare}-sxm-80gb", f"{bare}-pcie"):
            if candidate in known:
                return self.catalog.gpu(candidate)
        raise UnknownNameError(f"no GPU {name!r} in the catalog", hint(plain, known))

    def _silicon(self, row: Row) -> ServingCase:
        gpu = self.gpu(row["system"])
        architecture = self.architecture(row["model_path"])
        said = row.get("precision", "") or row.get("gemm_quant_mode", "")
        precision = {"fp8": "fp8", "fp4": "nvfp4", "nvfp4": "nvfp4", "int4": "int4", "int4_wo": "int4"}.get(
            said, "bf16"
        )
        if "oss" in architecture.name and precision == "nvfp4":
            precision = "mxfp4"
        kv_precision = _cache(row["backend"], precision, architecture, gpu)
        prompt, output = _count(row, "isl"), _count(row, "osl")
        if not (prompt and output):
            raise LayoutError("isl and osl must be positive")
        prefill: Stage | None = None
        assumed: tuple[str, ...] = (
            f"KV cache {kv_precision}",
            "prompts and answers of 80 to 100 % of isl and osl",
        )
        total = _rack_share(row, architecture)
        if total:
            users = float(_said_users(row))
            shares = _usual_shares(total)
            decode, prefill = shares
            assumed += (USUAL_REPLICAS,)
        elif row["mode"] == "agg":
            deployment, groups = _deployment(row, "", architecture)
            users = float(_count(row, "batch_size") * groups)
            decode = Stage(deployment)
            if not users:
                raise LayoutError("batch_size is blank: the number of users is not known")
        else:
            decode_deployment, decode_groups = _deployment(row, "decode_", architecture)
            prefill_deployment, _ = _deployment(row, "prefill_", architecture)
            decoders, prefills = _count(row, "decode_num_workers"), _count(row, "prefill_num_workers")
            users = float(_count(row, "decode_batch_size") * decode_groups * decoders)
            if not (users and prefills):
                users, decoders, prefills = float(_said_users(row)), 0, 0
                pool = _usual_pool(users, architecture, gpu, precision)
                decode_deployment = pool(decode_deployment)
                prefill_deployment = _usual_pool(0.0, architecture, gpu, precision)(prefill_deployment)
                assumed += (USUAL_REPLICAS,)
            decode_deployment = _over_nodes(decode_deployment, gpu)
            decode = Stage(decode_deployment, decoders or _usual_decoders(row["backend"], decode_deployment))
            prefill = Stage(_over_nodes(prefill_deployment, gpu), prefills)
        origin = _origin(row)
        if origin == "unknown":
            assumed += (_DEFAULTS,)
        kind = "experts" if architecture.experts else "dense"
        return ServingCase(
            label=f"{row['model_path']} {decode.deployment.gpus} {gpu.name} {row['backend']} users {users:g} "
            f"{prompt}/{output}",
            group=f"{row['backend']} {gpu.name} {kind} {precision} {row['mode']}",
            model=row["model_path"],
            architecture=architecture,
            gpu=gpu,
            engine=_release(row),
            precision=precision,
            kv_precision=kv_precision,
            decode=decode,
            prefill=prefill,
            users=users,
            prompt_tokens=prompt,
            output_tokens=float(output),
            shortest_fraction=_SHORTEST_FRACTION,
            steady=False,
            assumed=assumed,
            origin=origin,
            places=_places(row["backend"], users, decode, prefill) if origin == "inferencex" else math.inf,
            release=row.get("backend_version", ""),
            measured_on=_day(row),
        )

    def _energy(self, row: Row) -> ServingCase:
        task = row["task"]
        if task not in _PROMPT_TOKENS:
            raise LayoutError(
                f"task {task!r}: images and video run an encoder that is not modelled; known: "
                f"{', '.join(_PROMPT_TOKENS)}"
            )
        gpu = self.gpu(row["gpu_model"])
        architecture = self.architecture(row["model_id"])
        gpus = _count(row, "num_gpus")
        groups = max(1, _count(row, "data_parallel"))
        if gpus % groups:
            raise LayoutError(f"data_parallel {groups} does not divide num_gpus {gpus}")
        deployment = Deployment(gpus // groups, groups, max(1, _count(row, "expert_parallel")))
        deployment.check(architecture)
        said = row.get("weight_precision", "") or "bf16"
        precision = {"bfloat16": "bf16", "float16": "fp16"}.get(said, said)
        batch, output = float(row["avg_batch_size"]), float(row["avg_output_len"])
        kind = "experts" if architecture.experts else "dense"
        prompt = _PROMPT_TOKENS[task]
        captured = min(_MOST_CAPTURED, 2 * _count(row, "max_num_seqs")) or None
        blackwell = gpu.generation.startswith("Blackwell")
        few_cores = gpus == 1 and blackwell
        assumed: tuple[str, ...] = (f"prompts of {prompt} tokens", "KV cache bf16")
        if few_cores:
            assumed += ("ten cores for client, front ends and engine",)
        return ServingCase(
            label=f"{row['model_id']} {gpus} {gpu.name} {task} batch {batch:.0f}",
            group=f"ML.ENERGY {gpu.name} {kind}",
            model=row["model_id"],
            architecture=architecture,
            gpu=gpu,
            engine=_FLASHINFER_ENGINE if blackwell and architecture.is_latent else ENERGY_ENGINE,
            precision=precision,
            kv_precision="bf16",
            decode=Stage(deployment),
            prefill=None,
            users=batch,
            prompt_tokens=prompt,
            output_tokens=output,
            shortest_fraction=1.0,
            steady=True,
            assumed=assumed,
            captured_tokens=captured,
            few_cores=few_cores,
        )


def _cache(engine: str, precision: str, architecture: Architecture, gpu: GpuSpec) -> str:
    """Return the precision of the cache that an engine keeps beside weights of a format.

    TensorRT-LLM brings 8 bits with any quantised checkpoint, and load tests on Blackwell ask the
    other engines for the same; elsewhere SGLang keeps 16 bits and vLLM follows the checkpoint:
    ModelOpt's (dense FP8, NVFP4) say 8 bits, a vendor's own block-scaled FP8 does not.
    """
    if precision not in ("fp8", "nvfp4"):
        return "bf16"
    if engine == "trtllm" or gpu.generation.startswith("Blackwell"):
        return "fp8"
    if engine == "sglang" or architecture.is_latent:
        return "bf16"
    return "fp8" if precision == "nvfp4" or not architecture.experts else "bf16"


#: GPUs in a scale-up domain: of a node, and of a rack of GB200.
_NODE_DOMAIN: Final = 8
_RACK_DOMAIN: Final = 72

#: GPUs that one host board carries in a GB200 rack.
_TRAY: Final = 4

#: vLLM before this release ran the kernels that ML.ENERGY measured.
_YOUNG_VLLM: Final = (0, 13)

#: Decoding replicas of a disaggregated service that does not say: for one that shares attention
#: (low latency) the median of those that say, for wide data-parallel ones, and for SGLang's that lie
#: on several nodes, one.
_USUAL_DECODERS: Final = 4

#: Users for each GPU of a replica from which operators deal attention, too, and in a rack of
#: GB200 over so many GPUs.
_MANY_USERS_PER_GPU: Final = 64

#: Users for each GPU beyond which nobody cuts attention over more GPUs than a node has.
_FEW: Final = 8

#: GPUs that operators of a rack make one replica of, for many users of a large model.
_RACK: Final = 32


def _release(row: Row) -> str:
    """Return the engine whose law holds: an old release of vLLM is another engine."""
    engine = row["backend"]
    said = re.match(r"v?(\d+)\.(\d+)\b", row.get("backend_version", ""))
    if engine == "vllm" and said and (int(said[1]), int(said[2])) < _YOUNG_VLLM:
        return ENERGY_ENGINE
    if engine == "trtllm" and row["mode"] == "agg" and (not said or (int(said[1]), int(said[2])) < (1, 2)):
        return "trtllm-1.1"
    return engine


#: Recipes of disaggregated TensorRT-LLM (github.com/NVIDIA/srt-slurm, ``recipes/trtllm``) give each
#: decoding replica places for a power of two of sequences and ask with more users than all of them
#: hold, so that a place is never free: 2,253 for 2,048, 1,229 for 1,024, 615 or 666 for 512, 333 or
#: 360 for 256, 105 for 80, 30 for 20. Users from which on, and users for each place.
_OVERBOOKED: Final = ((4096, 1.05), (2048, 1.1), (1024, 1.2), (128, 1.3), (32, 1.35), (6, 1.5))

#: Where the replicas are stated: users for each place between which a recipe is taken to overbook.
_OVERBOOKED_FROM: Final = 1.15
_OVERBOOKED_TO: Final = 1.4
_LEAST_OVERBOOKED: Final = 8


def _places(engine: str, users: float, decode: Stage, prefill: Stage | None) -> float:
    """Return the sequences that the decoding replicas of a disaggregated service may run. [count]"""
    if engine != "trtllm" or prefill is None:
        return math.inf
    if not prefill.workers:
        if users.is_integer() and int(users) & (int(users) - 1) == 0:
            return math.inf
        return users / next((over for least, over in _OVERBOOKED if users >= least), 1.0)
    if decode.deployment.attention_data_parallel > 1:
        return math.inf
    each = users / decode.workers
    places = float(2 ** int(math.log2(max(1.0, each))))
    overbooked = _OVERBOOKED_FROM <= each / places <= _OVERBOOKED_TO and places >= _LEAST_OVERBOOKED
    return places * decode.workers if overbooked else math.inf


def _origin(row: Row) -> Origin:
    """Return who ran a load test, by its source."""
    source = row.get("silicon_data_source", "")
    if _OWN_RUNS in source:
        return "aiconfigurator"
    return "inferencex" if _LOAD_TESTS in source else "unknown"


def _day(row: Row) -> str:
    """Return the day a row was measured on (ISO), empty where its source does not say."""
    said = re.search(r"measured=(\d{4}-\d\d-\d\d)", row.get("silicon_data_source", ""))
    return said[1] if said else ""


def _said_users(row: Row) -> int:
    """Return the concurrency of a row by its source, its id or its batch; LayoutError if none says."""
    said = re.search(r"silicon_concurrency=(\d+)", row.get("silicon_data_source", "")) or re.search(
        r"_c(\d+)_", row.get("id", "")
    )
    batch = 0
    if row["mode"] == "agg":
        batch = _count(row, "batch_size") * max(1, _count(row, "attention_dp_size"))
    if said is None and batch:
        return batch
    if said is None:
        raise LayoutError(
            "disaggregated without decode_num_workers, prefill_num_workers and decode_batch_size, and "
            "without silicon_concurrency in its source: the batch on each replica is not known"
        )
    return int(said[1])


def _rack_share(row: Row, architecture: Architecture) -> int:
    """Return the GPUs of a service that is described by its total alone; 0: it is not. [count]

    48 or 72 GPUs cannot cut 128 heads: such rows give the whole of a disaggregated service of a
    rack as one degree, whatever their mode says.
    """
    counts = {_count(row, f"{prefix}tp_size") for prefix in ("", "prefill_", "decode_")} - {0}
    groups = max(_count(row, f"{prefix}attention_dp_size") for prefix in ("", "prefill_", "decode_"))
    if len(counts) != 1 or groups > 1:
        return 0
    total = counts.pop()
    return total if architecture.experts and architecture.heads % total else 0


def _usual_shares(total: int) -> tuple[Stage, Stage]:
    """Return (decode, prefill) of a service of so many GPUs: half decode as one, in a power of two."""
    decoding = 1 << max(2, (total // 2).bit_length() - 1)
    left = total - decoding
    wide = 8 if left % 8 == 0 else 4
    return Stage(Deployment(1, decoding, decoding)), Stage(Deployment(1, wide, wide), max(1, left // wide))


def _usual_pool(
    users: float, architecture: Architecture, gpu: GpuSpec, precision: str
) -> Callable[[Deployment], Deployment]:
    """Return a function that widens a stated deployment until the model, and its users, fit."""

    def widened(said: Deployment) -> Deployment:
        gpus = said.gpus
        while weight_bytes(architecture, precision) / gpus > _WEIGHT_SHARE * gpu.memory_bytes:
            gpus *= 2
        rack = gpu.name.startswith("gb")
        crowded = architecture.experts > 0 and users >= _MANY_USERS_PER_GPU * gpus
        wide = weight_bytes(architecture, precision) > _WEIGHT_SHARE * gpu.memory_bytes
        if crowded and rack and wide and gpus < _RACK:
            return Deployment(1, _RACK, _RACK)
        if rack and architecture.experts and said.tensor_parallel > _NODE_DOMAIN and users > _FEW * gpus:
            return Deployment(1, gpus, gpus)
        if gpus == said.gpus:
            return said
        return Deployment(1, gpus, gpus) if crowded else Deployment(gpus, 1, 1)

    return widened


def _over_nodes(deployment: Deployment, gpu: GpuSpec) -> Deployment:
    """Return a deployment that knows how many scale-up domains it spans."""
    domain = _RACK_DOMAIN if gpu.name.startswith("gb") else _NODE_DOMAIN
    if deployment.gpus % domain or deployment.gpus == domain:
        return deployment
    return replace(deployment, domains=deployment.gpus // domain)


def _usual_decoders(engine: str, deployment: Deployment) -> int:
    one = deployment.attention_data_parallel > 1 or (engine == "sglang" and deployment.domains > 1)
    return 1 if one else _USUAL_DECODERS


def _deployment(row: Row, prefix: str, architecture: Architecture) -> tuple[Deployment, int]:
    """Return (how the GPUs are used, groups that ``batch_size`` is counted in).

    A deployment whose attention is data-parallel over the same GPUs that its experts are dealt
    over is written with both degrees (tp 4, attention dp 4, ep 16 for four GPUs), and so is one
    whose experts are both cut and dealt (tp 64, moe tp 8, ep 8 for eight).
    """
    tensor = max(1, _count(row, f"{prefix}tp_size"))
    groups = max(1, _count(row, f"{prefix}attention_dp_size"))
    cut = max(1, _count(row, f"{prefix}moe_tp_size"))
    dealt = max(1, _count(row, f"{prefix}moe_ep_size"))
    if architecture.experts and not _count(row, f"{prefix}attention_dp_size") and cut * dealt > tensor:
        # Attention is data-parallel over what the experts have beyond it; one batch for all groups.
        return Deployment(tensor, cut * dealt // tensor, dealt), 1
    said = groups
    if architecture.experts and groups > 1 and dealt == 1 and row["backend"] == "sglang":
        # SGLang's data-parallel attention comes with dealt experts; up to a tray it was not on.
        if groups <= _TRAY:
            return Deployment(tensor * groups), said
        return Deployment(tensor, groups, tensor * groups), said
    if architecture.experts and architecture.heads % tensor:
        # 48 GPUs cannot cut 128 heads: attention is data-parallel, whatever the column says.
        return Deployment(1, tensor * groups, tensor * groups), said
    if not architecture.experts:
        return Deployment(tensor, groups), said
    on_hopper = row["system"].startswith("h")
    if row["backend"] == "vllm" and on_hopper and tensor == groups > 1 and dealt * cut == tensor * groups:
        # The published scripts of vLLM on Hopper deal experts alone, and both names measured the same.
        return Deployment(tensor, 1, tensor), said
    if tensor > 1 and groups == tensor and dealt * cut == tensor * groups:
        return Deployment(1, groups, groups), said
    if cut > 1 and dealt == cut and tensor * groups == cut * dealt:
        if groups > 1:
            return Deployment(1, cut, cut), said
        return Deployment(cut, 1, cut), said
    gpus = tensor * groups
    return Deployment(tensor, groups, dealt if gpus % dealt == 0 else gpus), said


def _count(row: Row, column: str) -> int:
    text = row.get(column, "")
    if not text:
        return 0
    try:
        return int(float(text))
    except ValueError:
        raise LayoutError(f"{column}: {text!r} is not a number") from None


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.casefold())
