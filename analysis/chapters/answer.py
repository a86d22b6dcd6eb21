"""The answer: five sentences and eight numbers."""

from __future__ import annotations

from analysis.chapters.material import Material
from analysis.numerals import count_text, digits, fixed, percent, seconds_text
from analysis.page import bullets, cards, folded, paragraphs
from simulator.foundation.units import render


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
            f"The meter counted {digits(power['facility_energy_mwh'])} MWh at a PUE of "
            f"{fixed(power['pue'], 3)}; the highest quarter of an hour was {render(peak, 'W')}{limit}."
        )
    if carbon["location_tco2e"] is not None:
        span = carbon["factor_set_tco2e"]
        by_set = (
            f" ({digits(min(span.values()), 3)} to {digits(max(span.values()), 3)} t by factor set)"
            if span
            else ""
        )
        embodied = (
            ""
            if carbon["embodied_tco2e"] is None
            else f", and {digits(carbon['embodied_tco2e'])} t are the run's share of making the hardware"
        )
        texts.append(
            f"That electricity stands for {digits(carbon['location_tco2e'])} t CO2e, location-based"
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
    found, run = material.digest, material.run
    hours, power_, carbon_, cost = (found[key] for key in ("gpu_hours", "power", "carbon", "cost"))
    provided = hours["provided"] or 1.0
    entries = [
        (
            "Productive GPU-hours",
            f"{100 * hours['productive'] / provided:.1f} %",
            f"{hours['productive']:,.0f} of {hours['provided']:,.0f}",
        ),
        ("Wait, 95 % of jobs", render(run.summary["p95_wait_s"], "s"), "at most, since submission")
        if run.summary["p95_wait_s"] is not None
        else ("Wait", "n/a", "no job was queued"),
        (
            "Energy at the meter",
            f"{digits(power_['facility_energy_mwh'])} MWh",
            f"PUE {fixed(power_['pue'], 3)}",
        ),
        (
            "Highest 15 minutes",
            render(power_["peak_15min_power_w"] or 0.0, "W"),
            f"limit {render(power_['limit_w'], 'W')}" if power_["limit_w"] else "no limit set",
        ),
        (
            "Carbon, location-based",
            f"{digits(carbon_['location_tco2e'])} t",
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
    entries += [
        (
            f"{service['name']}: TTFT p99",
            seconds_text(service.get("ttft_p99_s")),
            f"{service.get('stability') or 'no request'}, "
            f"headroom {percent(service.get('headroom_fraction'))}",
        )
        for service in found["services"][:1]
    ]
    return cards(entries)


def _work_sentence(material: Material) -> str:
    found = material.digest
    parts = [
        f"{job['job']} trained {render(job['tokens'], '')} tokens"
        + (f" at {percent(job['mfu_fraction'])} MFU" if job["mfu_fraction"] is not None else "")
        for job in found["training"][:2]
        if job["tokens"] is not None
    ]
    parts += [
        f"{service['name']} answered {count_text(service.get('requests'))} requests "
        f"(TTFT p99 {seconds_text(service.get('ttft_p99_s'))}, {service.get('stability')})"
        for service in found["services"][:2]
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
