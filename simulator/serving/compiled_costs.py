"""What iterations of a compiled crowd's replicas take and draw, as the rows its kernel reads."""

from __future__ import annotations

import numpy as np

from simulator.serving import kernel
from simulator.serving.crowd import ReplicaProfile
from simulator.serving.crowd_arrays import more_costs
from simulator.serving.kernel import State
from simulator.serving.replica_costs import ReplicaCosts


class CompiledCosts:
    """Costs by row of the kernel's `cost`: one for each profile, clock and number of GPUs."""

    def __init__(self) -> None:
        self._row: dict[tuple[int, float, int], int] = {}
        self._costs: list[ReplicaCosts] = []
        self._kept: dict[int, ReplicaProfile] = {}
        self._powers = 0

    def __getitem__(self, row: int) -> ReplicaCosts:
        return self._costs[row]

    def add(self, k: State, profile: ReplicaProfile, clock_fraction: float, gpus: int) -> tuple[State, int]:
        """Return the arrays with these costs among them, and their row."""
        key = (id(profile), clock_fraction, gpus)
        known = self._row.get(key)
        if known is not None:
            return k, known
        self._kept[id(profile)] = profile  # keeps the id from being used again
        costs = ReplicaCosts(profile if clock_fraction == 1.0 else profile.at_clock(clock_fraction), gpus)
        known = self._row[key] = len(self._costs)
        self._costs.append(costs)
        row = [
            costs.sequence_ps,
            costs.context_ps,
            costs.pair_ps_1024,
            costs.idle_mw,
            costs.mixed_context_ps,
            costs.decode_mw(1, 0) if k.crowd[kernel.GROUPS] > 1 else 0,
        ]
        return more_costs(k, row, costs.tokens_ps, costs.shared_ps, costs.prompt_mw), known

    def look_up(self, k: State, plan: list[int]) -> tuple[State, int]:
        """Return the arrays with the watts of a decode batch among them, and those of its plan. [mW]

        Parameters
        ----------
        plan
            A row of the kernel's `unknown`.
        """
        _, cost, decodes, bucket, tokens, alone_ps, duration_ps = plan
        level_mw = self._costs[cost].decode_mw(decodes, decodes * bucket * kernel.CONTEXT_BUCKET)
        k = self._remember(k, (cost << 40 | decodes << 24 | bucket) + 1, level_mw)
        if duration_ps:
            prompt_mw = self._costs[cost].prompt_mw[tokens]
            level_mw = prompt_mw + (level_mw - prompt_mw) * alone_ps // duration_ps
        return k, level_mw

    def _remember(self, k: State, key: int, level_mw: int) -> State:
        place = kernel.plain(kernel.power_place)
        at = place(k.power_key, key)
        if k.power_key[at]:
            return k
        k.power_key[at], k.power_mw[at] = key, level_mw
        self._powers += 1
        if 2 * self._powers <= len(k.power_key):
            return k
        used = k.power_key != 0
        wide = 4 * len(k.power_key)
        keys, levels = np.zeros(wide, np.int64), np.zeros(wide, np.int64)
        for known, level in zip(k.power_key[used].tolist(), k.power_mw[used].tolist(), strict=True):
            at = place(keys, known)
            keys[at], levels[at] = known, level
        return k._replace(power_key=keys, power_mw=levels)
