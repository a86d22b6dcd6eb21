"""An NVIDIA GPU timed through torch by its own clock.

Times are between two events on the stream, all calls queued before anybody waits, so that the host's
launches hide behind the device. Between two calls a buffer larger than the second-level cache is
overwritten: a serving engine's weights and remembered tokens come from memory, too. Operands are
random numbers, for zeros switch no transistors and run faster than real data.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from analysis.calibration.device.backend import CannotRun, Device, DeviceError, Once
from simulator.foundation.units import MIB

#: CUDA's compute capability -> generation in the catalog, the nearest below where a minor is not named.
_GENERATIONS: Final = {
    (7, 0): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 9): "Ada",
    (9, 0): "Hopper",
    (10, 0): "Blackwell",
    (12, 0): "Blackwell RTX",
}
#: Tensor cores take BF16 from Ampere on; FP8 from Ada on.
_BF16_FROM: Final = (8, 0)
_FP8_FROM: Final = (8, 9)
#: cuBLAS takes FP8 operands whose inner and outer widths are multiples of this.
_FP8_MULTIPLE: Final = 16

#: Share of the free memory that operands may take: the rest is for workspaces of libraries.
_ROOM: Final = 0.7
_WARM_UPS: Final = 5
_FEWEST, _MOST = 10, 400
#: Least size of what is overwritten between two calls, where torch does not tell the cache's.
_FLUSH_BYTES: Final = 256 * MIB

#: Name of an attention kernel -> its member of torch's `SDPBackend`.
_ATTENTIONS: Final = {
    "flash": "FLASH_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
}


def import_torch() -> Any:
    """Return torch; DeviceError where it is not there or sees no NVIDIA GPU."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise DeviceError(
            "torch is not installed, so no GPU can be measured; install it, or measure the processor "
            "with --tiny"
        ) from None
    if getattr(torch.version, "hip", None):
        raise DeviceError("torch was built for AMD GPUs; only NVIDIA's are measured")
    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        said = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
        built = (
            "torch sees no GPU" if torch.version.cuda else f"torch {torch.__version__} is built without CUDA"
        )
        raise DeviceError(f"{built}{said}; measure the processor with --tiny")
    return torch


class TorchBackend:
    """One GPU that torch sees.

    Parameters
    ----------
    torch
        From `import_torch`.
    index
        Which, as torch counts: ``CUDA_VISIBLE_DEVICES`` has been applied.

    Raises
    ------
    DeviceError
        If there are fewer GPUs.
    """

    def __init__(self, torch: Any, index: int = 0) -> None:
        count = int(torch.cuda.device_count())
        if not 0 <= index < count:
            raise DeviceError(f"no GPU {index}: torch sees {count}, counted from 0")
        self._torch = torch
        torch.cuda.set_device(index)
        self._where = f"cuda:{index}"
        facts = torch.cuda.get_device_properties(index)
        capability = tuple(torch.cuda.get_device_capability(index))
        wide = "bf16" if capability >= _BF16_FROM else "fp16"
        self.precisions: tuple[str, ...] = (wide,)
        if wide == "bf16":
            self.precisions += ("fp16",)
        if capability >= _FP8_FROM and hasattr(torch, "_scaled_mm") and hasattr(torch, "float8_e4m3fn"):
            self.precisions += ("fp8",)
        self.attentions = self._known_attentions()
        versions = {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)}
        cudnn = torch.backends.cudnn.version()
        if cudnn is not None:
            versions["cudnn"] = str(cudnn)
        self.device = Device(
            name=str(facts.name),
            kind="GPU",
            memory_bytes=float(facts.total_memory),
            precision=wide,
            versions=versions,
            generation=generation(capability),
            uuid=bare_uuid(str(getattr(facts, "uuid", ""))),
        )
        self.bus = _bus(facts)
        cache = float(getattr(facts, "L2_cache_size", 0) or 0)
        size = int(max(_FLUSH_BYTES, 2.0 * cache))
        # A small slice of a GPU has no room for that, but a smaller cache as well.
        size = min(size, int(0.1 * self._free_bytes()))
        self._flushed = torch.empty(max(size // 4, 1), dtype=torch.int32, device=self._where)

    def product(self, shape: tuple[int, int, int], precision: str) -> Once:
        """Return a matrix product; the right operand of FP8 lies column by column, as cuBLAS asks."""
        torch = self._torch
        rows, inner, columns = shape
        with self._refusals():
            if precision != "fp8":
                kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
                left, right = self._array(kind, rows, inner), self._array(kind, inner, columns)
                return lambda: torch.matmul(left, right)
            if inner % _FP8_MULTIPLE or columns % _FP8_MULTIPLE:
                raise CannotRun(f"FP8 widths are multiples of {_FP8_MULTIPLE}")
            kind = torch.float8_e4m3fn
            left = self._array(torch.bfloat16, rows, inner).to(kind)
            right = self._array(torch.bfloat16, columns, inner).to(kind).t()
            one = torch.ones((), dtype=torch.float32, device=self._where)
            # By keyword: their order changed with torch 2.5. Up to 2.4 a pair came back.
            return lambda: torch._scaled_mm(
                left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
            )

    def copy(self, size_bytes: int) -> Once:
        """Return a copy."""
        with self._refusals():
            source = self._array(self._wide(), size_bytes // 2)
            target = self._torch.empty_like(source)
        return lambda: target.copy_(source)

    def attention(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, how: str
    ) -> Once:
        """Return decode attention through `scaled_dot_product_attention`.

        The heads that share keys stand as rows of one query: without a mask that is the same
        product, it reads the keys once, and it runs on versions that know no `enable_gqa`.
        """
        torch = self._torch
        with self._refusals():
            query = self._array(self._wide(), sequences, kv_heads, heads // kv_heads, width)
            keys = self._array(self._wide(), sequences, kv_heads, context, width)
            values = self._array(self._wide(), sequences, kv_heads, context, width)
        attend = torch.nn.functional.scaled_dot_product_attention
        if how == "default":
            return lambda: attend(query, keys, values)
        only = torch.nn.attention.sdpa_kernel
        kernel = getattr(torch.nn.attention.SDPBackend, _ATTENTIONS[how])

        def once() -> Any:
            with only([kernel]):
                return attend(query, keys, values)

        return once

    def seconds(self, once: Once, span_s: float) -> float:
        """Return the median time of single calls on cold caches. [s]"""
        torch = self._torch
        with self._refusals(), torch.inference_mode():
            for _ in range(_WARM_UPS):
                once()
            torch.cuda.synchronize()
            rough_s = self._timed(once, 3)[1]
            count = int(min(max(span_s / max(rough_s, 1e-9), _FEWEST), _MOST))
            return float(np.median(self._timed(once, count)[0]))

    def busy(self, once: Once, calls: int) -> None:
        """Do calls back to back and wait for the last."""
        with self._refusals(), self._torch.inference_mode():
            for _ in range(calls):
                once()
            self._torch.cuda.synchronize()

    def room_bytes(self) -> float:
        """Return the share of the free memory that operands may take. [B]"""
        return _ROOM * self._free_bytes()

    def forget(self) -> None:
        """Give back cached memory."""
        self._torch.cuda.empty_cache()

    def _timed(self, once: Once, count: int) -> tuple[list[float], float]:
        """Return the seconds of each call, and of one call with its flush."""
        torch = self._torch
        pairs = []
        for _ in range(count):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flushed.zero_()
            begin.record()
            once()
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize()
        whole_s = pairs[0][0].elapsed_time(pairs[-1][1]) / 1e3
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairs], whole_s / count

    def _wide(self) -> Any:
        return getattr(self._torch, {"bf16": "bfloat16", "fp16": "float16"}[self.device.precision])

    def _array(self, kind: Any, *shape: int) -> Any:
        return self._torch.randn(*shape, device=self._where, dtype=kind)

    def _free_bytes(self) -> float:
        return float(self._torch.cuda.mem_get_info()[0])

    def _known_attentions(self) -> tuple[str, ...]:
        known = getattr(getattr(self._torch.nn, "attention", None), "SDPBackend", None)
        if known is None or not hasattr(self._torch.nn.attention, "sdpa_kernel"):
            return ("default",)
        return tuple(how for how, member in _ATTENTIONS.items() if hasattr(known, member))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what torch says of one shape into `CannotRun`; a broken device stays an error."""
        try:
            yield
        except self._torch.cuda.OutOfMemoryError:
            raise CannotRun("no room") from None
        except (RuntimeError, NotImplementedError, TypeError) as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if any(word in said.casefold() for word in _BROKEN):
                raise DeviceError(f"the GPU failed: {said}") from error
            raise CannotRun(said[:120]) from None


#: Words of errors after which nothing on a device can be trusted any more.
_BROKEN: Final = (
    "illegal memory",
    "launch failure",
    "unspecified launch",
    "ecc error",
    "device-side assert",
    "gpu is lost",
    "fallen off the bus",
    "unrecoverable",
    "misaligned address",
)


def generation(capability: tuple[int, ...]) -> str:
    """Return the generation of a compute capability; empty where the catalog knows none."""
    at_most = [known for known in _GENERATIONS if known <= capability and known[0] == capability[0]]
    return _GENERATIONS[max(at_most)] if at_most else ""


def bare_uuid(said: str) -> str:
    """Return a UUID without the prefix that NVML gives it and torch does not."""
    return said.strip().removeprefix("GPU-").removeprefix("MIG-").casefold()


def _bus(facts: Any) -> str:
    """Return the PCI address as NVML writes it, or nothing."""
    parts = [getattr(facts, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    if parts[1] is None or parts[2] is None:
        return ""
    return f"{parts[0] or 0:08x}:{parts[1]:02x}:{parts[2]:02x}.0"
