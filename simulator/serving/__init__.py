"""Serving: requests on replicas, routed, batched, scaled and counted. One row a plug-in."""

from __future__ import annotations

from typing import Final

from simulator.serving.autoscale import Autoscaler, ConcurrencyScaler, NoScaling, QueueScaler
from simulator.serving.routers import LeastKv, LeastOutstanding, PrefixAware, RoundRobin, Router

#: `replicas.autoscale`
AUTOSCALERS: Final[dict[str, type]] = {
    "queue": QueueScaler,
    "concurrency": ConcurrencyScaler,
    "none": NoScaling,
}

#: `router`
ROUTERS: Final[dict[str, type]] = {
    "round-robin": RoundRobin,
    "least-outstanding": LeastOutstanding,
    "least-kv": LeastKv,
    "prefix-aware": PrefixAware,
}

__all__ = [
    "AUTOSCALERS",
    "ROUTERS",
    "Autoscaler",
    "Router",
]
