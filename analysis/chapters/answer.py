"""The answer: five sentences and eight numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.chapters.material import Material
from analysis.numerals import count_text, digits, fixed, percent, seconds_text
from analysis.page import bullets, cards, folded, paragraphs
from simulator.foundation.units import HOUR_S, render
from simulator.results.amounts import carbon_text, energy_text


def answer(material: Material) -> str:
    """Five sentences and eight numbers."""
    found, run = material.digest, material.run
    hours, power, carbon, cost = (found[key] for key in ("gpu_hours", "power", "carbon", "cost"))
    provided = hours["provided"] or 1.0
    sites = ", ".join(site["name"] for site in found["sites"])
    texts = [
        f"In {render(run.horizon_s, 's')} the {run.summary['gpus']:,} GPUs at {sites} were held by jobs for "
        f"{100 * hours['allocated'] / provided:.1f} % of the time and did useful, durable work for "
        f"{100 * hours['productive'] / provided:.1f} %.",
        _work_sentence(material),
    ]
    if power["facility_energy_mwh"] is not None:
        peak = power["peak_15min_power_w"]
        limit = f" of {render(power['limit_w'], 'W')} allowed" if power["limit_w"] else ""
        texts.append(
            f"The meter counted {energy_text(power['facility_energy_mwh'])} at a PUE of "
            f"{fixed(power['pue'], 3)}; the highest quarter of an hour was {render(peak, 'W')}{limit}."
        )
    if carbon["location_tco2e"] is not None:
        span = carbon["factor_set_tco2e"]
        by_set = (
            f" ({carbon_text(min(span.values()), 3)} to {carbon_text(max(span.values()), 3)} by factor set)"
            if span
            else ""
        )
        embodied = (
            ""
            if carbon["embodied_tco2e"] is None
            else f", and {carbon_text(carbon['embodied_tco2e'])} are the run's share of making the hardware"
        )
        texts.append(
            f"That electricity stands for {carbon_text(carbon['location_tco2e'])} of CO2e, location-based"
            f"{by_set}{embodied}."
        )
    moves = "; ".join(
        f"{move['assumption']} ({move['number']} {100 * move['low_fraction']:+.0f} / "
        f"{100 * move['high_fraction']:+.0f} %)"
        for move in found["moves"][:3]
    )
    if cost["total_cost_usd"] is not None:
        unit = cost["usd_per_productive_gpu_hour"]
        texts.append(
            f"All in all it cost {material.money(cost['total_cost_usd'])}"
            + (f", {material.money(unit, 3)} per productive GPU-hour" if unit is not None else "")
            + (f"; what moves these numbers most: {moves}." if moves else ".")
        )
    texts.append(
        "One seed was run, so chance alone gives no range here; what is not modelled at all stands "
        "under uncertainty."
    )
    return f'<div class="answer">{_headline_cards(material)}{paragraphs(texts)}</div>' + folded(
        "What to watch", bullets(found["watch"]), unfolded=True
    )


def _headline_cards(material: Material) -> str:
    found = material.digest
    hours, power_, carbon_, cost = (found[key] for key in ("gpu_hours", "power", "carbon", "cost"))
    provided = hours["provided"] or 1.0
    places = 0 if provided >= 10.0 else 2
    entries = [
        (
            "Productive GPU-hours",
            f"{100 * hours['productive'] / provided:.1f} %",
            f"{hours['productive']:,.{places}f} of {hours['provided']:,.{places}f}",
        ),
        *_wait_card(material),
        (
            "Energy at the meter",
            energy_text(power_["facility_energy_mwh"]),
            f"PUE {fixed(power_['pue'], 3)}",
        ),
        (
            "Highest 15 minutes",
            render(power_["peak_15min_power_w"] or 0.0, "W"),
            f"limit {render(power_['limit_w'], 'W')}" if power_["limit_w"] else "no limit set",
        ),
        (
            "Carbon, location-based",
            carbon_text(carbon_["location_tco2e"]),
            str(carbon_["factor_set"] or ""),
        ),
        ("Water on site", f"{digits(site_m3, 3)} m3", "without generation")
        if (site_m3 := found["water"]["site_water_m3"]) is not None
        else ("Water on site", "unknown", "the plant gives none"),
        (
            "Cost",
            material.short_money(cost["total_cost_usd"]),
            f"{material.money(cost['usd_per_productive_gpu_hour'], 3)} per productive GPU-h",
        ),
    ]
    return cards([*entries, *_service_cards(material)])


def _wait_card(material: Material) -> list[tuple[str, str, str]]:
    """Return who waited; nothing where only services ran, which never queue for long."""
    waited_s = material.run.summary["p95_wait_s"]
    if waited_s is not None:
        return [("Wait, 95 % of jobs", render(waited_s, "s"), "at most, since submission")]
    return [] if material.digest["services"] else [("Wait", "n/a", "no job was queued")]


def _service_cards(material: Material) -> list[tuple[str, str, str]]:
    """Return the first service's latency, and what a request of it takes."""
    found = []
    for service in material.digest["services"][:1]:
        headroom = service.get("headroom_fraction")
        room = "" if headroom is None else f", headroom {percent(headroom)}"
        found.append(
            (
                f"{service['name']}: TTFT p99",
                seconds_text(service.get("ttft_p99_s")),
                f"{service.get('stability') or 'no request'}{room}",
            )
        )
        used_j = service.get("facility_joules_per_request")
        if used_j is not None and not material.run.summary["p95_wait_s"]:
            chip_j = service.get("chip_joules_per_request")
            chips = "" if chip_j is None else f"{digits(chip_j / HOUR_S, 3)} Wh on the chips"
            found.append((f"{service['name']}: a request", f"{digits(used_j / HOUR_S, 3)} Wh", chips))
    return found


def _service_sentence(service: Mapping[str, Any], *, alone: bool) -> str:
    """Return what a service did; of a single one, also which promises it kept and when it did not."""
    said = (
        f"{service['name']} answered {count_text(service.get('requests'))} requests (TTFT p50 "
        f"{seconds_text(service.get('ttft_p50_s'))}, p99 {seconds_text(service.get('ttft_p99_s'))}; TPOT p50 "
        f"{seconds_text(service.get('tpot_p50_s'))}; {service.get('stability')})"
    )
    if not alone:
        used = service.get("joules_per_token")
        return said if used is None else f"{said} with {digits(used, 3)} J a token"
    promised = [
        f"{percent(tier['slo_attainment_fraction'])} of {tier['tier']}"
        for tier in service["tiers"]
        if (tier.get("ttft_slo_s") is not None or tier.get("tpot_slo_s") is not None)
        and tier.get("slo_attainment_fraction") is not None
    ]
    late = [
        f"{entry['tier']} {' and '.join(entry['by_metric'])} in {entry['hours']} of {entry['of']} hours, "
        f"between {entry['first_hour']:02d} and {entry['last_hour']:02d} h"
        for entry in service["late_hours"]
    ]
    if promised:
        said += f" and kept its promises to {', '.join(promised)} requests"
    return said + (f"; the slowest hundredth was late for {'; '.join(late)}" if late else "")


def _work_sentence(material: Material) -> str:
    found = material.digest
    parts = [
        f"{job['job']} trained {render(job['tokens'], '')} tokens"
        + (f" at {percent(job['mfu_fraction'])} MFU" if job["mfu_fraction"] is not None else "")
        for job in found["training"][:2]
        if job["tokens"] is not None
    ]
    parts += [
        _service_sentence(service, alone=len(found["services"]) == 1)
        for service in found["services"][:3]
        if service.get("requests")
    ]
    for group in found["jobs"][:2]:
        waited = (
            ""
            if group["wait_p95_s"] is None
            else f" and 95 % waited at most {render(group['wait_p95_s'], 's')}"
        )
        parts.append(f"{group['done']:,} of {group['jobs']:,} {group['kind']} jobs were done{waited}")
    if not parts:
        return "No work was asked for."
    # Names are told as they are written, at the head of a sentence too.
    return f"{'; '.join(parts)}."
