"""How a training run saves itself, what a checkpoint costs, and how it comes back from a failure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.catalog.entries import NodeSpec
from simulator.engine.behaviour import Checkpoints, Recovery
from simulator.engine.build_failures import causes_of
from simulator.engine.world import Cause
from simulator.foundation.errors import BuildError
from simulator.hardware.save_intervals import FixedInterval, SaveInterval
from simulator.scenario.sites import CheckpointStorage
from simulator.scenario.tree import Scenario
from simulator.scenario.workloads import Checkpoint, Training
from simulator.telemetry.record import ReliabilityFacts

if TYPE_CHECKING:
    from simulator.scenario.sites import Site


class CheckpointBuilder:
    """Answers for one training run at one site."""

    def __init__(
        self, scenario: Scenario, workload: Training, parameters: float, node: NodeSpec, site: Site
    ) -> None:
        self.scenario = scenario
        self.workload = workload
        self.node = node
        self.storage: CheckpointStorage | None = site.storage
        self.causes = causes_of(scenario)
        saves = workload.checkpoint
        usual = float(Checkpoint.model_fields["bytes_per_parameter"].default)
        per_parameter = usual if saves is None else saves.bytes_per_parameter
        self.size_bytes = (saves.size_bytes if saves else None) or parameters * per_parameter
        self.recovery = self._recovery()
        self.launch_s = self._launch_s()

    @property
    def start_s(self) -> float:
        """Launch and warm-up, with nothing to load. [s]"""
        return self.launch_s + self.recovery.warm_up_s

    @property
    def restart_s(self) -> float:
        """The same after a stop, with the checkpoint to load. [s]"""
        return self.start_s + self.recovery.load_s

    @property
    def mean_time_s(self) -> float:
        """Mean time between unplanned failures of the run on all its GPUs. [s]"""
        rate_per_s = sum(cause.per_gpu_s for cause in self._unplanned()) * self.workload.gpus
        return 1.0 / rate_per_s if rate_per_s else math.inf

    def checkpoints(self) -> Checkpoints | None:
        """Return the cycle of checkpoints; None if the run saves nothing."""
        saves = self.workload.checkpoint
        if saves is None:
            return None
        write_s = self.size_bytes / self.storage.write_bandwidth_bytes_per_s if self.storage else None
        if saves.mode == "sync":
            stall_s = saves.stall_s if saves.stall_s is not None else write_s
            if stall_s is None:
                raise BuildError(
                    f"workloads.{self.workload.name}.checkpoint: the pause follows from the size and the "
                    "site's storage, which has none; give `storage: {write_bandwidth: ...}` or `stall`"
                )
            shared_s = 0.0 if saves.stall_s is not None or write_s is None else write_s
            return Checkpoints(self._every_s(stall_s), stall_s, write_s=shared_s)
        stall_s = saves.stall_s
        if stall_s is None:
            bandwidth = self.node.host_to_gpu_bandwidth_bytes_per_s
            if not bandwidth:
                raise BuildError(
                    f"workloads.{self.workload.name}.checkpoint: node {self.node.name} has no "
                    "host_to_gpu_bandwidth; give `stall`"
                )
            stall_s = self.size_bytes / self.workload.gpus / bandwidth
        lag_s = write_s or 0.0
        return Checkpoints(self._every_s(stall_s), stall_s, lag_s=lag_s, write_s=lag_s)

    def reliability(self, checkpoints: Checkpoints) -> ReliabilityFacts:
        """Return what laws of effective training time need to know."""
        rules = self.scenario.failures
        unplanned = self._unplanned()
        planned = [cause for cause in self.causes if cause.planned]
        total = sum(cause.per_gpu_s for cause in unplanned)
        own = self.recovery
        restarts = tuple(
            (
                cause.per_gpu_s / total,
                (cause.detect_s if own.detect_s is None else own.detect_s)
                + (cause.diagnose_s if own.diagnose_s is None else own.diagnose_s)
                + own.again_s(cause.recover_s),
            )
            for cause in unplanned
        )
        planned_rate = sum(cause.per_gpu_s for cause in planned)
        planned_s = sum(cause.per_gpu_s * cause.recover_s for cause in planned)
        every_s, stall_s, lag_s = checkpoints.under(1.0)
        calibration = ""
        if self.causes:
            calibration = self.scenario.catalog.failure_preset(rules.preset).calibration
        return ReliabilityFacts(
            job=self.workload.name,
            calibration=calibration,
            mean_time_s=self.mean_time_s,
            interval_s=every_s,
            save_s=stall_s,
            lag_s=lag_s,
            restarts=restarts,
            undetected_s=sum(cause.per_gpu_s * cause.undetected_s for cause in unplanned) / total
            if total
            else 0.0,
            planned_per_s=planned_rate * self.workload.gpus,
            planned_s=planned_s / planned_rate + own.load_s + own.warm_up_s if planned_rate else 0.0,
            bends=tuple(self._bends()),
        )

    # ------------------------------------------------------------------ inside

    def _bends(self) -> list[str]:
        rules, workload = self.scenario.failures, self.workload
        found = []
        if workload.elastic is not None:
            found.append("it may go on with fewer GPUs")
        if workload.recovery is not None and workload.recovery.nodes == "requeue":
            found.append("it queues again after each failure")
        if rules.lemons is not None:
            found.append("some nodes break more often")
        if rules.maintenance is not None:
            found.append("maintenance windows stop it")
        if any(event.kind in ("node-fault", "leaf-fault") for event in self.scenario.script):
            found.append("the script breaks nodes or leaves")
        return found

    def _unplanned(self) -> list[Cause]:
        return [cause for cause in self.causes if not cause.planned]

    def _every_s(self, stall_s: float) -> float:
        saves = self.workload.checkpoint
        assert saves is not None
        policy: SaveInterval
        if saves.policy is not None:
            policy = saves.policy.build()
        else:
            assert saves.every_s is not None
            policy = FixedInterval(saves.every_s)
        every_s = policy.interval_s(stall_s, self.mean_time_s)
        if not every_s > 0.0:
            raise BuildError(
                f"workloads.{self.workload.name}.checkpoint: a checkpoint takes no time, so the best time "
                "between two is none; give `every`, or the size and a finite bandwidth"
            )
        return every_s

    def _recovery(self) -> Recovery:
        said, elastic = self.workload.recovery, self.workload.elastic
        load_s = 0.0
        if self.storage is not None and self.storage.read_bandwidth_bytes_per_s is not None:
            load_s = self.size_bytes / self.storage.read_bandwidth_bytes_per_s
        peers = elastic is not None and elastic.restore == "peers"
        regroup_s = elastic.stall_s if elastic is not None and elastic.stall_s is not None else 0.0
        if said is None:
            return Recovery(load_s=load_s, from_peers=peers, regroup_s=regroup_s)
        return Recovery(
            detect_s=said.detect_s,
            diagnose_s=said.diagnose_s,
            launch_s=said.launch_s,
            load_s=load_s,
            warm_up_s=said.warm_up_s,
            swaps=said.nodes == "swap",
            from_peers=peers,
            regroup_s=regroup_s,
        )

    def _launch_s(self) -> float:
        """Return the launch as given, or the mean of the causes' by how often they come. [s]"""
        if self.recovery.launch_s is not None:
            return self.recovery.launch_s
        causes = self._unplanned()
        total = sum(cause.per_gpu_s for cause in causes)
        return sum(cause.per_gpu_s * cause.recover_s for cause in causes) / total if total else 0.0
