"""Decodes that check drafts, as `serving.drafting` has them; `request[PHASE]` is the blocks held."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.serving.kernel.batch import done, last_running, leave_decode, leave_running, take
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.state import compiled

_OF_NUMBER = np.uint64(0x9E3779B97F4A7C15)
_OF_EMITTED = np.uint64(0xD1B54A32D192ED03)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@compiled
def accepted(draft_bits: Any, number: int, emitted: int) -> Any:
    """Return how many drafts of a request are right that has so many tokens out (splitmix64)."""
    state = np.uint64(number) * _OF_NUMBER + np.uint64(emitted) * _OF_EMITTED + draft_bits[0] + _OF_NUMBER
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    state ^= state >> np.uint64(31)
    count = 0
    for i in range(1, draft_bits.size):
        if state <= draft_bits[i]:
            count += 1
    return count


@compiled
def checking_ps(c: Any, tokens_ps: Any, decodes: int, tokens: int) -> Any:
    """Return what drafts add to an iteration of so many decodes, and tokens without the drafts. [ps]"""
    wider = tokens_ps[tokens + decodes * c[DRAFTS]] - tokens_ps[tokens]
    return wider + (tokens_ps[decodes] * c[DRAFT_1024] * c[DRAFTS] >> 10)


@compiled
def _needed(k: Any, s: int, q: int) -> Any:
    """Return the blocks that a decode needs for its next token and the drafts."""
    size = k.crowd[BLOCK_TOKENS]
    tokens = k.request[q, BASE] + k.replica[s, GENERATION] + 1 + k.crowd[DRAFTS]
    return max(0, (tokens + size - 1) // size - k.request[q, PHASE])


@compiled
def short_of_checks(k: Any, s: int) -> bool:
    """Whether some decode does not get the blocks that it asks for."""
    r = k.replica[s]
    need = 0
    for i in range(r[RUNNING]):
        q = k.running[s, i]
        if k.request[q, TOKEN] >= 0:
            need += _needed(k, s, q)
    if need != r[FREE]:
        return bool(need > r[FREE])
    if not k.crowd[SPARE_BLOCK] or not r[DECODES]:
        return False
    return bool(_needed(k, s, last_running(k, s, True)) == 0)


@compiled
def grow_checks(k: Any, s: int) -> None:
    """Let decodes have their blocks before anybody else asks for some."""
    for i in range(k.replica[s, RUNNING]):
        q = k.running[s, i]
        if k.request[q, TOKEN] >= 0:
            more = _needed(k, s, q)
            k.request[q, PHASE] += more
            take(k.replica[s], more)


@compiled
def finish_checks(k: Any, s: int) -> None:
    """Let the tokens of the planned iteration come out: right drafts, and one that the pass gave."""
    r = k.replica[s]
    if r[STANDS]:
        return
    generation = r[GENERATION] + 1
    r[GENERATION] = generation
    r[CONTEXT] += r[DECODES]
    i = 0
    while i < r[RUNNING]:
        q = k.running[s, i]
        v = k.request[q]
        if v[TOKEN] >= 0:
            left = v[OUTPUT] - v[EMITTED]
            tokens = min(1 + accepted(k.draft_bits, v[NUMBER], v[EMITTED]), left)
            v[EMITTED] += tokens
            v[BASE] += tokens - 1
            v[END] = generation + left - tokens
            r[CONTEXT] += tokens - 1
            if tokens == left:
                r[FREE] += v[PHASE]
                leave_decode(k, s, q)
                leave_running(k, s, q)
                done(k, s, q)
                continue
        i += 1
