"""Watts and energy of replicas, in whole milliwatts and picoseconds."""

from __future__ import annotations

from typing import Any

from simulator.serving.kernel.columns import *
from simulator.serving.kernel.state import compiled, inlined


@compiled
def _share(amount: int, part: int, whole: int) -> Any:
    """Return amount * part // whole for 0 <= part <= whole < 2^61, whatever the product."""
    size = abs(amount)
    if float(size) * float(part) < 4e18:
        return amount * part // whole
    quotient = 0
    rest = 0
    for bit in range(40, -1, -1):
        quotient *= 2
        rest *= 2
        if (size >> bit) & 1:
            rest += part
        quotient += rest // whole
        rest %= whole
    if amount >= 0:
        return quotient
    return -quotient - (1 if rest else 0)


@compiled
def meter_read(r: Any, at_ps: int) -> None:
    """Account for a replica's energy up to a moment in the bin under way."""
    since = r[SINCE]
    if at_ps > since:
        level = r[LEVEL_MW]
        span = at_ps - since
        # Milliwatts times picoseconds of a bin are more than 64 bits: two limbs.
        at = METER + METER_FIELDS * r[DOING]
        low = r[at + ENERGY_LOW] + level * (span & ((1 << ENERGY_SHIFT) - 1))
        r[at + ENERGY_HIGH] += level * (span >> ENERGY_SHIFT) + (low >> ENERGY_SHIFT)
        r[at + ENERGY_LOW] = low & ((1 << ENERGY_SHIFT) - 1)
        r[at + TIME_PS] += span
        r[LARGEST_MW] = max(r[LARGEST_MW], level)
        r[SINCE] = at_ps


@compiled
def meter_set(r: Any, at_ps: int, level_mw: int, doing: int) -> None:
    """Let a replica draw other watts, or do something else, from a moment on."""
    if level_mw != r[LEVEL_MW] or doing != r[DOING]:
        meter_read(r, at_ps)
        r[LEVEL_MW] = level_mw
        r[DOING] = doing


@compiled
def power_place(power_key: Any, key: int) -> Any:
    """Return where a key stands in the hash table, or the empty place where it would."""
    mask = power_key.size - 1
    at = ((key * 0x5851F42D4C957F2D) >> 32) & mask
    while power_key[at] != 0 and power_key[at] != key:
        at = (at + 1) & mask
    return at


@inlined
def set_decode_power(k: Any, s: int, now: int, alone_ps: int, duration_ps: int) -> None:
    """Hold the watts of a decode batch, or those of one with prompts in it (`duration_ps` above 0)."""
    r = k.replica[s]
    decodes = r[DECODES]
    tokens = r[NEW_TOKENS] + decodes
    cost = r[COST]
    bucket = (r[CONTEXT] // decodes + CONTEXT_BUCKET // 2) // CONTEXT_BUCKET
    key = ((cost << 40) | (decodes << 24) | bucket) + 1
    at = power_place(k.power_key, key)
    if k.power_key[at] == 0:
        unknown = k.unknown[k.crowd[UNKNOWN]]
        k.crowd[UNKNOWN] += 1
        unknown[0] = s
        unknown[1] = cost
        unknown[2] = decodes
        unknown[3] = bucket
        unknown[4] = tokens
        unknown[5] = alone_ps
        unknown[6] = duration_ps
        return
    level = k.power_mw[at]
    if duration_ps:
        # The decodes' own share of the iteration at their watts, the rest at those of a prompt as wide.
        prompt = k.prompt_mw[cost, tokens]
        level = prompt + _share(level - prompt, alone_ps, duration_ps)
    meter_set(r, now, level, DOES_BOTH if duration_ps else DOES_DECODES)
