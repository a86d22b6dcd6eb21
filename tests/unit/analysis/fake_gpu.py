"""A played GPU: torch and NVML as modules, over one device whose clock sets its speed and its watts.

Faithful in what code can get wrong: kernels are queued and take (played) time at the next wait, an event
tells nothing before that, FP8 wants its right operand column by column in multiples of 16, memory runs
out, the power reading lags, locking needs permission, a slice has a UUID of its own.
"""

from __future__ import annotations

import types
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

from simulator.hardware.power_curve import ClockCurve
from tests.unit.analysis.played_time import PlayedTime

#: What every played device and whoever watches it live in.
TIME = PlayedTime()

#: What the played device does when its clock falls.
CURVE = ClockCurve(voltage_slope=0.5, lowest_voltage_fraction=0.8, memory_sensitivity=0.2)


@dataclass
class FakeGpu:
    """One device; every option is something that real machines do."""

    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "0f1e2d3c-aaaa-bbbb-cccc-000000000001"
    capability: tuple[int, int] = (9, 0)
    memory_bytes: int = 85_017_493_504
    peak_flop_per_s: float = 600e12
    bytes_per_s: float = 2.6e12
    idle_w: float = 70.0
    busy_w: float = 640.0
    highest_mhz: int = 1980
    lowest_mhz: int = 210
    limit_w: float = 700.0
    may_lock: bool = True
    tells_power: bool = True
    tells_energy: bool = True
    mig: bool = False
    others: int = 0
    locked_mhz: int | None = None
    locks: list[int | None] = field(default_factory=list)
    fails_at_lock: int | None = None
    """Raise from the kernel after so many locks."""
    unlock_fails: int = 0
    used_bytes: int = 0
    queued_s: float = 0.0
    done_s: float = 0.0
    is_busy: bool = False
    _energy_j: float = 0.0
    _at: float = field(default_factory=TIME.monotonic)

    @property
    def clock_fraction(self) -> float:
        return 1.0 if self.locked_mhz is None else self.locked_mhz / self.highest_mhz

    def power_w(self) -> float:
        if not self.is_busy:
            return self.idle_w
        return CURVE.power_w(self.busy_w, self.idle_w, self.clock_fraction)

    def energy_j(self) -> float:
        now = TIME.monotonic()
        self._energy_j += self.power_w() * (now - self._at)
        self._at = now
        return self._energy_j

    def queue(self, flop: float, moved: float, corner: float = 8.0) -> None:
        """One kernel: a launch and a roofline with a round corner."""
        self.check_alive()
        clock = self.clock_fraction
        work_s = flop / self.peak_flop_per_s * CURVE.compute_stretch(clock)
        read_s = moved / self.bytes_per_s * CURVE.memory_stretch(clock)
        self.queued_s += 3e-6 + (work_s**corner + read_s**corner) ** (1.0 / corner)

    def check_alive(self) -> None:
        if self.fails_at_lock is not None and len(self.locks) >= self.fails_at_lock:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def wait(self) -> None:
        """Let time pass until the queue is empty; watts are those of work meanwhile."""
        self.energy_j()
        self.is_busy = True
        TIME.sleep(self.queued_s - self.done_s)
        self.energy_j()
        self.is_busy = False
        self.done_s = self.queued_s

    def take(self, size: int) -> None:
        if self.used_bytes + size > self.memory_bytes:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate ...")
        self.used_bytes += size

    def give(self, size: int) -> None:
        self.used_bytes -= size


class OutOfMemoryError(RuntimeError):
    """As torch's, a RuntimeError."""


_SIZES = {"bfloat16": 2, "float16": 2, "float32": 4, "int32": 4, "float8_e4m3fn": 1}


class Tensor:
    """Shape, type and order in memory; no numbers."""

    def __init__(self, gpu: FakeGpu, shape: tuple[int, ...], dtype: str, *, by_column: bool = False) -> None:
        self.gpu, self.shape, self.dtype, self.by_column = gpu, shape, dtype, by_column
        self.bytes = _SIZES[dtype]
        for width in shape:
            self.bytes *= width
        gpu.take(self.bytes)
        weakref.finalize(self, gpu.give, self.bytes)

    def to(self, dtype: str) -> Tensor:
        self.gpu.queue(0.0, 2.0 * self.bytes)
        return Tensor(self.gpu, self.shape, dtype)

    def t(self) -> Tensor:
        found = Tensor(self.gpu, (), "float32")
        found.shape, found.dtype, found.by_column = self.shape[::-1], self.dtype, not self.by_column
        found.base = self  # type: ignore[attr-defined]
        return found

    def zero_(self) -> Tensor:
        self.gpu.queue(0.0, self.bytes)
        return self

    def copy_(self, source: Tensor) -> Tensor:
        assert source.shape == self.shape
        self.gpu.queue(0.0, 2.0 * self.bytes)
        return self


def fake_torch(gpus: list[FakeGpu], *, uuids: bool = True, old: bool = False) -> types.ModuleType:
    """Return torch over these GPUs; `old`: 2.2, which pairs FP8 products and knows no kernels by name."""
    torch: Any = types.ModuleType("torch")
    current = [gpus[0]] if gpus else []
    torch.__version__ = "2.2.0" if old else "2.8.0"
    torch.version = SimpleNamespace(cuda="12.8", hip=None)
    for name in _SIZES:
        setattr(torch, name, name)
    torch.backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91002))

    def make(*shape: int, device: str, dtype: str) -> Tensor:
        index = int(device.removeprefix("cuda:"))
        assert gpus[index] is current[0]
        if len(shape) == 1 and isinstance(shape[0], tuple):
            shape = shape[0]
        return Tensor(gpus[index], tuple(shape), dtype)

    def randn(*shape: int, device: str, dtype: str) -> Tensor:
        if dtype.startswith("float8"):
            raise NotImplementedError("\"normal_kernel_cuda\" not implemented for 'Float8_e4m3fn'")
        return make(*shape, device=device, dtype=dtype)

    torch.randn, torch.empty, torch.ones = randn, make, make
    torch.empty_like = lambda like: Tensor(like.gpu, like.shape, like.dtype)

    def matmul(left: Tensor, right: Tensor) -> Tensor:
        assert left.dtype == right.dtype
        assert left.shape[1] == right.shape[0]
        if left.dtype == "bfloat16" and left.gpu.capability < (8, 0):
            raise RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED")
        rows, inner, columns = *left.shape, right.shape[1]
        out = Tensor(left.gpu, (rows, columns), left.dtype)
        left.gpu.queue(2.0 * rows * inner * columns, left.bytes + right.bytes + out.bytes, 2.6)
        return out

    def scaled_mm(
        mat1: Tensor, mat2: Tensor, *, scale_a: Tensor, scale_b: Tensor, out_dtype: str, **_: Any
    ) -> Any:
        if mat1.by_column or not mat2.by_column:
            raise RuntimeError("mat2 must be column major")
        if mat1.shape[1] % 16 or mat2.shape[0] % 16 or mat2.shape[1] % 16:
            raise RuntimeError("Expected trailing dimension of mat1 to be divisible by 16")
        assert scale_a.dtype == scale_b.dtype == "float32"
        assert mat1.dtype == mat2.dtype == "float8_e4m3fn"
        rows, inner, columns = *mat1.shape, mat2.shape[1]
        out = Tensor(mat1.gpu, (rows, columns), out_dtype)
        moved = inner * columns + 2.0 * rows * (inner + columns)
        mat1.gpu.queue(rows * inner * columns, moved, 1.2)
        return (out, None) if old else out

    torch.matmul, torch._scaled_mm = matmul, scaled_mm

    def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        assert query.shape[:2] == keys.shape[:2] == values.shape[:2]
        if not old and attend.only == ["CUDNN"]:
            raise RuntimeError("No available kernel. Aborting execution.")
        out = Tensor(query.gpu, query.shape, query.dtype)
        query.gpu.queue(0.0, keys.bytes + values.bytes)
        return out

    attend.only = []  # type: ignore[attr-defined]

    class Only:
        def __init__(self, kernels: list[str]) -> None:
            self.kernels = kernels

        def __enter__(self) -> None:
            attend.only = self.kernels  # type: ignore[attr-defined]

        def __exit__(self, *_: object) -> None:
            attend.only = []  # type: ignore[attr-defined]

    torch.nn = SimpleNamespace(functional=SimpleNamespace(scaled_dot_product_attention=attend))
    if not old:
        kernels = SimpleNamespace(FLASH_ATTENTION="FLASH", CUDNN_ATTENTION="CUDNN", MATH="MATH")
        torch.nn.attention = SimpleNamespace(SDPBackend=kernels, sdpa_kernel=Only)

    class Quiet:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    torch.inference_mode = Quiet

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            self.timed, self.at = enable_timing, None

        def record(self) -> None:
            self.gpu, self.at = current[0], current[0].queued_s

        def elapsed_time(self, end: Any) -> float:
            if not (self.timed and end.timed) or self.at is None or end.at is None:
                raise RuntimeError("Both events must be recorded and timed")
            if end.gpu.done_s < end.at:
                raise RuntimeError("CUDA error: device not ready")
            return (end.at - self.at) * 1e3

    def properties(index: int) -> Any:
        gpu = gpus[index]
        found = SimpleNamespace(
            name=gpu.name,
            total_memory=gpu.memory_bytes,
            L2_cache_size=50 << 20,
            pci_domain_id=0,
            pci_bus_id=16 + index,
            pci_device_id=0,
        )
        if uuids:
            found.uuid = gpu.uuid
        return found

    def set_device(index: int) -> None:
        current[:] = [gpus[index]]

    torch.cuda = SimpleNamespace(
        is_available=lambda: bool(gpus),
        device_count=lambda: len(gpus),
        set_device=set_device,
        get_device_properties=properties,
        get_device_capability=lambda index: gpus[index].capability,
        mem_get_info=lambda: (current[0].memory_bytes - current[0].used_bytes, current[0].memory_bytes),
        empty_cache=lambda: None,
        synchronize=lambda: (current[0].check_alive(), current[0].wait()),
        Event=Event,
        OutOfMemoryError=OutOfMemoryError,
    )
    return torch


class NVMLError(Exception):
    """As NVML's: a number that reads as words."""

    words: ClassVar = {
        3: "Not Supported",
        4: "Insufficient Permissions",
        9: "Driver Not Loaded",
        15: "GPU is lost",
    }

    def __init__(self, value: int) -> None:
        super().__init__(self.words[value])
        self.value = value


def fake_nvml(gpus: list[FakeGpu], *, driver_loaded: bool = True) -> types.ModuleType:
    """Return NVML's wrapper over all GPUs of the machine, in the order of their PCI addresses."""
    nvml: Any = types.ModuleType("pynvml")
    nvml.NVMLError, nvml.NVML_CLOCK_SM, nvml.NVML_TEMPERATURE_GPU = NVMLError, 1, 0

    def refuse(value: int) -> Any:
        raise NVMLError(value)

    nvml.nvmlInit = lambda: None if driver_loaded else refuse(9)
    nvml.nvmlDeviceGetCount = lambda: len(gpus)
    nvml.nvmlDeviceGetHandleByIndex = lambda index: gpus[index]
    nvml.nvmlSystemGetDriverVersion = lambda: "570.124.06"
    nvml.nvmlDeviceGetUUID = lambda one: one.encode() if isinstance(one, str) else f"GPU-{whole(one)}"

    def whole(gpu: FakeGpu) -> str:
        return f"whole-of-{gpu.uuid}" if gpu.mig else gpu.uuid

    nvml.nvmlDeviceGetName = lambda gpu: gpu.name.partition(" MIG")[0]
    nvml.nvmlDeviceGetPciInfo = lambda gpu: SimpleNamespace(busId=f"00000000:{16 + gpus.index(gpu):02X}:00.0")
    nvml.nvmlDeviceGetPowerUsage = lambda gpu: round(gpu.power_w() * 1e3) if gpu.tells_power else refuse(3)
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: (
        round(gpu.energy_j() * 1e3) if gpu.tells_energy else refuse(3)
    )
    nvml.nvmlDeviceGetPowerManagementLimit = lambda gpu: round(gpu.limit_w * 1e3)
    nvml.nvmlDeviceGetPowerManagementDefaultLimit = lambda gpu: 700_000
    nvml.nvmlDeviceGetPowerManagementLimitConstraints = lambda gpu: [200_000, 700_000]
    nvml.nvmlDeviceGetPersistenceMode = lambda gpu: 1
    nvml.nvmlDeviceGetMigMode = lambda gpu: (
        [int(gpu.mig), int(gpu.mig)] if gpu.capability >= (8, 0) else refuse(3)
    )
    nvml.nvmlDeviceGetMaxMigDeviceCount = lambda gpu: 7
    nvml.nvmlDeviceGetMigDeviceHandleByIndex = lambda gpu, index: (
        f"MIG-{gpu.uuid}" if index == 0 else refuse(3)
    )
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [SimpleNamespace(pid=-1)] * gpu.others
    nvml.nvmlDeviceGetMaxClockInfo = lambda gpu, _: gpu.highest_mhz
    nvml.nvmlDeviceGetClockInfo = lambda gpu, _: round(gpu.clock_fraction * gpu.highest_mhz)
    nvml.nvmlDeviceGetTemperature = lambda gpu, _: 45
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda gpu: 0x4 if gpu.is_busy else 0x1
    nvml.nvmlDeviceGetSupportedMemoryClocks = lambda gpu: [2619, 1593]
    nvml.nvmlDeviceGetSupportedGraphicsClocks = lambda gpu, memory: (
        list(range(gpu.highest_mhz, gpu.lowest_mhz - 1, -15)) if memory == 2619 else [gpu.lowest_mhz]
    )

    def lock(gpu: FakeGpu, low: int, high: int) -> None:
        if not gpu.may_lock:
            refuse(4)
        assert low == high
        gpu.locked_mhz = low
        gpu.locks.append(low)

    def unlock(gpu: FakeGpu) -> None:
        if not gpu.may_lock:
            refuse(4)
        if gpu.unlock_fails:
            gpu.unlock_fails -= 1
            refuse(15)
        gpu.locked_mhz = None
        gpu.locks.append(None)

    nvml.nvmlDeviceSetGpuLockedClocks, nvml.nvmlDeviceResetGpuLockedClocks = lock, unlock
    return nvml
