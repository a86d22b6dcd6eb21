"""What the closing print says of services: two lines each, or one where there is no room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simulator.foundation.units import HOUR_S, render

#: Told in full; more are told in a line each.
_MOST: Final = 3

#: Told in a line each; the rest are counted.
_MOST_BRIEF: Final = 6

#: Tiers of a service that a line has room for.
_MOST_TIERS: Final = 2


def services_said(services: Sequence[Mapping[str, Any]], *, brief: bool) -> list[str]:
    """Return sentences about services, as `Run.closing_data` has them.

    Parameters
    ----------
    brief
        Whether each has one line, without its tiers.
    """
    brief = brief or len(services) > _MOST
    served = services[:_MOST_BRIEF]
    said = _side_by_side(served)
    for service in served:
        said += [_in_a_line(service)] if brief else _service(service)
        # Several are compared in lines of their own above, which are not cut off with the last one.
        said += _used(service) if len(served) == 1 else []
    if len(services) > _MOST_BRIEF:
        said.append(f"and {len(services) - _MOST_BRIEF} more services (in the report)")
    return said


def _service(service: Mapping[str, Any]) -> list[str]:
    said = [f"{service['name']}: {_answered(service)} requests; TTFT p50/p99 {_by_tier(service)}"]
    late = [
        f"{entry['tier']} {' and '.join(entry['by_metric'])} p99 late in {entry['hours']} of {entry['of']} h "
        f"({entry['first_hour']:02d}-{entry['last_hour']:02d} h)"
        for entry in service["late_hours"]
    ]
    promised = any(tier.get("ttft_slo_s") or tier.get("tpot_slo_s") for tier in service["tiers"])
    met = [
        f"{tier['tier']} {100 * tier['slo_attainment_fraction']:.0f} %"
        for tier in service["tiers"]
        if tier.get("slo_attainment_fraction") is not None
    ]
    kept = [f"promises met: {', '.join(met)}"] if promised and met else []
    tpot = _pair(service.get("tpot_p50_s"), service.get("tpot_p99_s"))
    said.append("  " + ".  ".join([f"{_verdict(service)}; TPOT {tpot}", *kept, *late]))
    return said


def _in_a_line(service: Mapping[str, Any]) -> str:
    """Return a service where there is no room for its promises, and of many tiers for none."""
    whole, tpot = (
        _pair(service.get(f"{metric}_p50_s"), service.get(f"{metric}_p99_s")) for metric in ("ttft", "tpot")
    )
    ttft = _by_tier(service) if 1 < len(service["tiers"]) <= _MOST_TIERS else whole
    return f"{service['name']}: {_answered(service)} requests; TTFT {ttft}, TPOT {tpot}; {_verdict(service)}"


def _by_tier(service: Mapping[str, Any]) -> str:
    """Return median and 99th percentile of the time to first token of each tier."""
    return ", ".join(
        f"{tier['tier']} {_pair(tier.get('ttft_p50_s'), tier.get('ttft_p99_s'))}" for tier in service["tiers"]
    )


def _answered(service: Mapping[str, Any]) -> str:
    """Return how many requests were answered, and of how many if some were not."""
    lost = (service.get("requests_turned_away") or 0.0) + (service.get("requests_failed") or 0.0)
    answered = render(service.get("requests") or 0.0, "")
    return f"{answered} of {render(service['requests_arrived'], '')}" if lost else answered


def _verdict(service: Mapping[str, Any]) -> str:
    verdict = str(service.get("stability") or "no request").upper()
    headroom = service.get("headroom_fraction")
    return verdict if headroom is None else f"{verdict}, headroom {100 * headroom:.0f} %"


def _side_by_side(services: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return joules and dollars of several services, each in one sentence with its boundary."""
    if len(services) < 2:
        return []
    said = []
    for key, words in (
        ("joules_per_token", "J per output token, servers"),
        ("facility_usd_per_million_tokens", "USD per M output tokens, idle and overhead too"),
    ):
        known = [(service["name"], service.get(key)) for service in services]
        parts = [f"{name} {rounded(value, 3)}" for name, value in known if value is not None]
        said += [f"{words}: {', '.join(parts)}"] if parts else []
    return said


def _used(service: Mapping[str, Any]) -> list[str]:
    """Return what a request and a million tokens use, each with its boundary."""
    chip_j, whole_j = service.get("chip_joules_per_request"), service.get("facility_joules_per_request")
    if chip_j is None or whole_j is None:
        return []
    parts = [
        f"{rounded(chip_j / HOUR_S, 3)} Wh/request on the chips, {rounded(whole_j / HOUR_S, 3)} with "
        "hosts, idle and overhead"
    ]
    per_million = [
        f"{rounded(value, 3)} {unit}"
        for name, unit in (("gco2e", "g"), ("litres", "L"), ("usd", "USD"))
        if (value := service.get(f"facility_{name}_per_million_tokens")) is not None
    ]
    if per_million:
        parts.append(f"{', '.join(per_million)} per million output tokens")
    return ["  " + "; ".join(parts)]


def _pair(median: float | None, high: float | None) -> str:
    if median is None:
        return "n/a"
    unit, size = ("ms", 1e-3) if max(median, high or 0.0) < 1.0 else ("s", 1.0)
    return f"{_short(median / size)}/{'n/a' if high is None else _short(high / size)} {unit}"


def _short(value: float) -> str:
    """Return a positive number in two digits, never with an exponent."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.001 else f"{value:.4f}"


def rounded(value: float, digits: int) -> str:
    """Return a number in so many digits, never with an exponent."""
    return render(value, "ratio", digits)
