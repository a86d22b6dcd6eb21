"""Hold flexible jobs while the grid is dirty, up to a patience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from simulator.decisions import YES, Admission, JobView, QueueView, RetryAt
from simulator.decisions.reasons import CARBON_HOLD
from simulator.foundation.quantity import GramsPerKwh, Seconds


@dataclass(frozen=True)
class CarbonHold:
    """Admit a job only while carbon intensity is at or below a threshold."""

    threshold_g_per_kwh: Annotated[GramsPerKwh, "Admit at or below this average intensity."]
    patience_s: Annotated[Seconds, "A job that has waited this long is admitted anyway."] = 86400.0
    tenants: Annotated[tuple[str, ...], "Only these tenants are held; empty: all."] = ()

    def gate(self, job: JobView, view: QueueView) -> Admission:
        """Retry at the next clean moment or when patience ends, whichever is first."""
        if job.kind == "replica" or (self.tenants and job.tenant not in self.tenants):
            return YES
        now_s = view.now_s
        patient_until_s = job.submitted_s + self.patience_s
        if now_s >= patient_until_s:
            return YES
        intensity = view.signal("intensity_g_per_kwh", "carbon-hold")
        if float(intensity.at(now_s)) <= self.threshold_g_per_kwh:
            return YES
        clean_s = intensity.first_at_most(self.threshold_g_per_kwh, now_s)
        if clean_s is None or clean_s > patient_until_s:
            clean_s = patient_until_s
        return RetryAt(clean_s, CARBON_HOLD)
