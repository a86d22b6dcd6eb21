"""Which form a service in full takes: the readable twin, or the kernel that equals it.

Both give the same answers to the bit, so the choice is one of speed alone: loading the kernel
takes about a second, and compiling it, once on a machine, up to a minute.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from simulator.serving.crowd_in_full import CrowdInFull
from simulator.serving.routers import LeastKv, LeastOutstanding, PrefixAware, RoundRobin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestSource

#: Requests from which on the kernel pays: the twin takes 18,000 to 33,000 a second.
COMPILED_FROM: Final = 100_000

#: The same where requests share prefixes: the twin moves every block of a prompt by itself, and takes
#: 270 requests of Mooncake's conversations a second, of 12,000 tokens in the mean.
COMPILED_FROM_SHARED: Final = 10_000

#: Routers that the kernel knows; others, those from outside among them, are asked request by request.
_COMPILED_ROUTERS: Final = (RoundRobin, LeastOutstanding, LeastKv, PrefixAware)


def not_compiled(rules: ServiceRules, *, tabulated: bool = False) -> str:
    """Return what of a service the kernel does not know, in words; empty if it knows all.

    Parameters
    ----------
    rules
        The service.
    tabulated
        Whether iterations cost what a measured table says.
    """
    reasons = (
        (type(rules.router) not in _COMPILED_ROUTERS, f"router {type(rules.router).__name__}"),
        (tabulated, "a measured table of iterations"),
    )
    return " and ".join(words for holds, words in reasons if holds)


class Form(NamedTuple):
    """What simulates a service, and why that."""

    name: str
    """compiled, twin or flow."""
    reason: str


def form_of(rules: ServiceRules, expected_requests: float, *, tabulated: bool) -> Form:
    """Return the form that a service in full takes; parameters as `full_crowd` has them."""
    unknown = not_compiled(rules, tabulated=tabulated)
    if unknown:
        return Form("twin", f"{unknown} is not compiled")
    least = COMPILED_FROM_SHARED if rules.shares_prefixes else COMPILED_FROM
    if expected_requests < least:
        return Form("twin", f"fewer than {least:,} requests expected")
    return Form("compiled", f"{least:,} requests or more expected")


def full_crowd(
    rules: ServiceRules,
    source: RequestSource | None,
    *,
    expected_requests: float,
    tabulated: bool = False,
) -> CrowdInFull:
    """Return the crowd of a service in full, compiled if that pays and the kernel knows all of it.

    Parameters
    ----------
    expected_requests
        Requests that will be simulated, about. [count]
    """
    if form_of(rules, expected_requests, tabulated=tabulated).name == "twin":
        return TwinCrowd(rules, source)
    from simulator.serving.compiled_crowd import CompiledCrowd

    return CompiledCrowd(rules, source)
