"""What ``datahall run`` prints last: at most 30 lines of 100 columns."""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulator.decisions.reasons import SAID
from simulator.foundation.units import DAY_S, KILO, MEGA, in_currency, render
from simulator.results.amounts import carbon_text, energy_text
from simulator.results.digest import shown_path
from simulator.results.served import rounded, services_said
from simulator.results.watch_list import DEFAULTS

if TYPE_CHECKING:
    from simulator.results.finished_run import Run

COLUMNS: Final = 100
LINES: Final = 30

#: Where the text after the first word of a block begins.
_INDENT: Final = 13

#: A number and its unit stay on one line, and so do a sign and its number.
_GLUE: Final = re.compile(r"(?<=\d) (?=%|[a-zA-Z])|(?<=[<=>]) (?=\d)")

#: Named one by one; the rest are counted.
_MOST: Final = 3

#: Unit of a limit's number -> what ``render`` calls it.
_SUFFIXES: Final[Mapping[str, str]] = {
    "_s": "s",
    "_w": "W",
    "_j": "J",
    "_g": "g",
    "_usd": "USD",
    "_litres_per_kwh": "litres/kWh",
    "_fraction": "fraction",
}


def closing_lines(run: Run) -> list[str]:
    """Return the closing print of a finished run.

    Blocks come in the order of the question "what happened, what did it cost, can I trust it?".
    If they are too long together, services are told in a line each; then the longest lose their
    last lines, never their first, and say how many.
    """
    found = run.closing_data()
    head, foot = _head(run, found), _foot(found)
    room = LINES - len(head) - len(foot)
    blocks = _blocks(run, found, brief=False)
    if sum(map(len, blocks)) > room:
        blocks = _blocks(run, found, brief=True)
    cut = [0] * len(blocks)
    while sum(map(len, blocks)) > room:
        # The GPU-hours stay whole: their lines add up.
        longest = max(range(1, len(blocks)), key=lambda at: len(blocks[at]))
        del blocks[longest][-1]
        cut[longest] += 1
    for block, lines in zip(blocks, cut, strict=True):
        if lines:
            more = f" ... ({lines} more line{'s' if lines > 1 else ''} in the report)"
            block[-1] = block[-1][: COLUMNS - len(more)].rstrip() + more
    return [line[:COLUMNS].rstrip() for line in [*head, *(line for block in blocks for line in block), *foot]]


def _blocks(run: Run, found: Mapping[str, Any], *, brief: bool) -> list[list[str]]:
    return [
        _gpu_hours(found),
        _work(run, found, brief=brief),
        _links(found),
        _power(found),
        _carbon(found),
        _water(found),
        _cost(found),
        _waiting(found),
        _limits(found),
        _moves(found),
        _watch(found),
        _audit(found),
    ]


def _head(run: Run, found: Mapping[str, Any]) -> list[str]:
    sites = ", ".join(site["name"] for site in found["sites"][:_MOST])
    grids = ", ".join(dict.fromkeys(site["grid"] for site in found["sites"] if site.get("grid")))
    begin = run.calendar.local(0.0)
    wall = "" if found["wall_s"] is None else f" | {found['wall_s']:.1f} s"
    facts = (
        f"{sites} | {grids} | {begin:%Y-%m-%d} + {_span(found['horizon_s'])} | "
        f"{found['seeds']} seed{'s' if found['seeds'] != 1 else ''}{wall}"
    )
    title = found["title"]
    if len(title) + len(facts) + 3 <= COLUMNS:
        return [f"{title}{' ' * (COLUMNS - len(title) - len(facts))}{facts}"]
    return [title, facts]


def _gpu_hours(found: Mapping[str, Any]) -> list[str]:
    hours = found["gpu_hours"]
    provided = hours["provided"]

    def row(name: str, value: float, note: str = "") -> str:
        share = f"{100 * value / provided:6.1f} %" if provided else ""
        return f"{'':{_INDENT}}{name:<19}{value:>11,.{places}f}  {share}  {note}".rstrip()

    # A replay of minutes has less than a GPU-hour of each.
    places = 0 if provided >= 100.0 else 2
    lines = [f"{'GPU-hours':{_INDENT}}{'provided':<19}{provided:>11,.{places}f}"]
    lines.append(row("allocated", hours["allocated"]))
    lines.append(row("  productive", hours["productive"], "modelled"))
    lines.append(
        row("  overhead in jobs", hours["overhead"], "(bubbles, communication, checkpoints, starts)")
    )
    lines.append(row("  lost to failures", hours["lost"]))
    others = [f"free {hours['free']:,.{places}f}"]
    others += [f"{name} {hours[name]:,.0f}" for name in ("held", "down", "maintenance") if hours[name] >= 0.5]
    tail = hours["idle_tail"]
    if tail is not None:
        others.append(
            f"of the free, {tail['gpu_hours']:,.0f} are {tail['gpus']:,} GPUs idle after {tail['job']} "
            f"ended on day {tail['ended_s'] / DAY_S:.1f}"
        )
    return lines + _block("", ["  ".join(others)])


def _work(run: Run, found: Mapping[str, Any], *, brief: bool) -> list[str]:
    said: list[str] = []
    for job in found["training"][:_MOST]:
        parts = [] if job["tokens"] is None else [f"{render(job['tokens'], '')} tokens"]
        if job["finished_s"] is not None:
            when = run.calendar.local(job["finished_s"])
            parts.append(f"{job['state']} {when.day} {when:%b %H:%M}")
        else:
            parts.append(f"{job['state']} at the end")
        if job["mfu_fraction"] is not None:
            parts.append(f"MFU {render(job['mfu_fraction'], 'fraction')} ({job['mfu_convention']})")
        if job["restarts"]:
            parts.append(f"{job['restarts']:.0f} restart{'s' if job['restarts'] != 1 else ''}")
        if job["ettr_fraction"] is not None:
            law = job["reliability"]["ettr_law_fraction"]
            beside = "" if law is None or job["reliability"]["law_bends"] else f" (law {100 * law:.1f} %)"
            parts.append(f"ETTR {render(job['ettr_fraction'], 'fraction')}{beside}")
        if job["facility_energy_mwh"] is not None and job["it_w_per_gpu"] is not None:
            parts.append(f"{energy_text(job['facility_energy_mwh'])} at the meter")
            parts.append(carbon_text(job["location_tco2e"]))
            parts.append(f"{job['it_w_per_gpu']:.0f} W/GPU {job['watts']}")
        said.append(f"{job['job']}: {', '.join(parts)}")
    if len(found["training"]) > _MOST:
        said.append(f"and {len(found['training']) - _MOST} more training jobs")
    said += services_said(found["services"], brief=brief)
    for group in found["jobs"][:_MOST]:
        text = f"{group['kind']} jobs: {group['done']:,} of {group['jobs']:,} done"
        if group["wait_p50_s"] is not None:
            text += f"; wait p50 {render(group['wait_p50_s'], 's')}, p95 {render(group['wait_p95_s'], 's')}"
        if group["running"]:
            text += f"; {group['running']:,} still running"
        if group["queued"]:
            text += f"; {group['queued']:,} still queued"
        said.append(text)
    return _block("Work", said or ["none was asked for"])


def _power(found: Mapping[str, Any]) -> list[str]:
    power = found["power"]
    if power["facility_energy_mwh"] is None:
        return _block("Power", ["not accounted"])
    peak, limit = power["peak_15min_power_w"], power["limit_w"]
    parts = [
        f"IT {energy_text(power['it_energy_mwh'])}",
        f"meter {energy_text(power['facility_energy_mwh'])}",
        f"PUE {_number(power['pue'], '.3f')}",
    ]
    if peak is not None:
        parts.append(
            f"peak 15 min {_of(render(peak, 'W'), render(limit, 'W')) if limit else render(peak, 'W')}"
        )
    parts.append(f"load factor {_number(power['load_factor_fraction'], '.2f')}")
    said = ["  ".join(parts)]
    if len(power["by_site"]) > 1:
        said.append(
            "  "
            + "; ".join(
                f"{site['name']} IT {energy_text(site['it_energy_mwh'])}, "
                f"meter {energy_text(site['facility_energy_mwh'])}"
                for site in power["by_site"][:_MOST]
            )
        )
    return _block("Power", said)


def _carbon(found: Mapping[str, Any]) -> list[str]:
    carbon = found["carbon"]
    if carbon["location_tco2e"] is None:
        return _block("Carbon", ["not accounted"])
    span = carbon["factor_set_tco2e"]
    by_set = (
        ""
        if not span
        else f" ({carbon_text(min(span.values()), 3)} to {carbon_text(max(span.values()), 3)} by factor set)"
    )
    factors = f" {carbon['factor_set']}" if carbon["factor_set"] else ""
    parts = [f"location {carbon_text(carbon['location_tco2e'])}{factors}{by_set}"]
    market, marginal = carbon["market_tco2e"], carbon["marginal_tco2e"]
    if market is None:
        parts.append("market unknown")
    elif math.isclose(market, carbon["location_tco2e"], rel_tol=1e-9):
        parts.append("market = location")
    else:
        parts.append(f"market {carbon_text(market)}")
    parts.append("marginal unknown" if marginal is None else f"marginal {carbon_text(marginal)}")
    embodied = carbon["embodied_tco2e"]
    parts.append("embodied unknown" if embodied is None else f"embodied {carbon_text(embodied)}")
    return _block("Carbon", ["  ".join(parts)])


def _water(found: Mapping[str, Any]) -> list[str]:
    water = found["water"]
    site, source = water["site_water_m3"], water["source_water_m3"]
    on_site = "site unknown" if site is None else f"site {rounded(site, 4)} m3"
    behind = "source unknown" if source is None else f"source {rounded(source, 4)} m3"
    return _block("Water", [f"{on_site}  {behind}"])


def _cost(found: Mapping[str, Any]) -> list[str]:
    cost, code = found["cost"], str(found["currency"])
    total = cost["total_cost_usd"]

    def money(usd: float) -> float:
        return in_currency(usd, code)

    known = {name: usd for name, usd in cost["parts_usd"].items() if usd is not None}
    missing = [name.replace("_", " ") for name, usd in cost["parts_usd"].items() if usd is None]
    if total is None:
        total = sum(known.values())
    size, letter = next(
        (rung for rung in ((MEGA, "M"), (KILO, "k")) if money(total) >= 10 * rung[0]), (1.0, "")
    )
    parts = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    large = [(name.replace("_", " "), usd) for name, usd in parts if usd >= 0.01 * total]
    rest = sum(usd for _, usd in parts) - sum(usd for _, usd in large)
    large += [("other", rest)] if rest > 0 else []
    listed = ", ".join(f"{name} {_amount(money(usd) / size)}" for name, usd in large)
    year = f" of {cost['price_year']}" if cost["price_year"] else ""
    if missing:
        # A sum of what is known would read as the cost.
        known_parts = f"; known, in {letter}{code}{year}: {listed}" if listed else ""
        return _block("Cost", [f"unknown: no price of {', '.join(missing)}{known_parts}"])
    said = [f"{_amount(money(total) / size)} {letter}{code}{year}: {listed}"]
    units = [
        f"{rounded(money(cost[key]), 3)} per {word}"
        for key, word in (
            ("usd_per_allocated_gpu_hour", "allocated"),
            ("usd_per_productive_gpu_hour", "productive GPU-h"),
        )
        if cost[key] is not None
    ]
    served = [
        f"{service['name']} {rounded(money(service['usd_per_million_tokens']), 3)}"
        for service in found["services"][:_MOST]
        if service.get("usd_per_million_tokens") is not None
    ]
    if units:
        tokens = [f"{', '.join(served)} per million output tokens, idle machines left out"] if served else []
        said.append("; ".join([f"{code} {', '.join(units)}", *tokens]))
    return _block("Cost", said)


def _waiting(found: Mapping[str, Any]) -> list[str]:
    waiting = found["waiting"]
    if waiting["gpu_hours"] <= 0:
        return _block("Who waited", ["nobody"])
    return _block(
        "Who waited",
        [
            f"{_first(waiting['by_tenant'], 4)} of {waiting['gpu_hours']:,.0f} GPU-h queued: "
            + _first({SAID.get(name, name): share for name, share in waiting["by_reason"].items()}, 4)
        ],
    )


def _links(found: Mapping[str, Any]) -> list[str]:
    """Say who was held up by shared links, where, and by whom; nothing if nobody was."""
    losses = found["links"]
    said = []
    for loss in losses[:_MOST]:
        part = loss["part"].removesuffix("_s").replace("_", " ")
        text = (
            f"{loss['job']}: steps of {render(loss['step_alone_s'], 's', 4)} take "
            f"{render(loss['step_worst_s'], 's', 4)} ({part} +{render(loss['part_grows_s'], 's')}), "
            f"{loss['lost_gpu_hours']:,.0f} GPU-h lost"
        )
        if loss["crossing"]:
            capacity = render(loss["capacity_bytes_per_s"], "bytes/s")
            those = ", ".join(
                f"{row['job']} {row['exchange']} {render(row['peak_bytes_per_s'], 'bytes/s')} "
                f"gets {render(row['share'], 'fraction')}"
                for row in loss["crossing"][:_MOST]
            )
            text += f"; {loss['link']} carries {capacity}: {those}"
        said.append(text)
    if len(losses) > _MOST:
        said.append(f"and {len(losses) - _MOST} more jobs (links.parquet)")
    return _block("Links", said) if said else []


def _limits(found: Mapping[str, Any]) -> list[str]:
    code = str(found["currency"])
    words = {True: ("<=", "PASS"), False: (">", "FAIL"), None: ("of", "NOT CHECKED")}
    said = []
    for limit in found["limits"]:
        name = limit["metric"]
        ending = next((end for end in _SUFFIXES if name.endswith(end)), "")
        unit = _SUFFIXES.get(ending, "ratio")

        def shown(value: float | None, unit: str = unit) -> str:
            if value is None:
                return "n/a"
            if unit == "USD":
                return render(in_currency(value, code), unit).replace("USD", code)
            return render(value, unit)

        of = f" {limit['of']}" if limit["of"] else ""
        sign, verdict = words[limit["passed"]]
        short = name.removesuffix(ending).replace("_", " ")
        said.append(f"{short}{of} {shown(limit['value'])} {sign} {shown(limit['bound'])} {verdict}")
    power = found["power"]
    if power["limit_w"] and power["peak_15min_power_w"] is not None:
        said.append(f"interconnection {100 * power['peak_15min_power_w'] / power['limit_w']:.0f} % used")
    return _block("Limits", ["  ".join(said) if said else "none set"])


def _moves(found: Mapping[str, Any]) -> list[str]:
    said = [
        f"{move['assumption']}: {move['number']} {_change(move['low_fraction'])}/"
        f"{_change(move['high_fraction'])} %"
        for move in found["moves"][:4]
    ]
    return _block("Moves most", ["  ".join(said) if said else "not estimated for this run"])


def _watch(found: Mapping[str, Any]) -> list[str]:
    command = f": datahall check {found['scenario']} --assumptions"
    said = [text + command if text.endswith(DEFAULTS) else text for text in found["watch"]]
    return _block("Watch", said, most=4)


def _audit(found: Mapping[str, Any]) -> list[str]:
    audit = found["audit"]
    worst = audit["worst_relative_difference"]
    shown = f"{worst:.0e}" if worst else "0"
    return _block("Audit", [f"{audit['accounts']} accounts balance, worst {shown}"])


def _foot(found: Mapping[str, Any]) -> list[str]:
    folder = Path(found["folder"])
    shown = shown_path(folder)
    target = os.path.join(shown, "report.html") if (folder / "report.html").exists() else shown
    site = found["sites"][0] if found["sites"] else {"name": "0"}
    other = "DE" if site.get("grid") == "FR" else "FR"
    return textwrap.wrap(
        f"{target}       next: datahall run {found['scenario']} sites.{site['name']}.grid={other}",
        COLUMNS,
        break_long_words=False,
    )[:2]


def _block(word: str, said: Sequence[str], most: int | None = None) -> list[str]:
    """Return the lines of a block: its word once, its sentences wrapped and aligned."""
    lines: list[str] = []
    for text in said if most is None else said[:most]:
        inner = len(text) - len(text.lstrip())
        lines += textwrap.wrap(
            _GLUE.sub("\N{NO-BREAK SPACE}", text.strip()),
            COLUMNS - _INDENT - inner,
            initial_indent=" " * inner,
            subsequent_indent=" " * max(inner, 2),
            break_long_words=True,
            break_on_hyphens=False,
        )
    if most is not None and len(said) > most:
        lines[-1] += f"  (and {len(said) - most} more in the report)"
    return [
        f"{word if place == 0 else '':{_INDENT}}{line}".replace("\N{NO-BREAK SPACE}", " ")
        for place, line in enumerate(lines)
    ]


def _span(seconds: float) -> str:
    return render(seconds, "s")


def _of(part: str, whole: str) -> str:
    """Return "542 of 900 kW" for "542 kW" and "900 kW"."""
    unit = whole.rpartition(" ")[2]
    return f"{part.removesuffix(f' {unit}')} of {whole}"


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.1 else "<0.1"


def _change(fraction: float | None) -> str:
    return "?" if fraction is None else f"{100 * fraction:+.0f}"


def _first(shares: Mapping[str, float], most: int) -> str:
    parts = [f"{name} {100 * share:.0f} %" for name, share in list(shares.items())[:most]]
    if len(shares) > most:
        parts.append(f"{len(shares) - most} others")
    return ", ".join(parts)
