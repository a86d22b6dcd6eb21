"""The loop over events: ends of plans, arrivals, and the planning that follows them at the same instant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.serving.kernel.batch import call, finish_decodes, finish_prompts
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.drafting import finish_checks
from simulator.serving.kernel.ends import tree_first, tree_set
from simulator.serving.kernel.forms import asks_for_features, with_words
from simulator.serving.kernel.groups import pace, passed, running_in
from simulator.serving.kernel.planning import schedule
from simulator.serving.kernel.prefixes import room_for_names
from simulator.serving.kernel.routing import admit, deal, let_in
from simulator.serving.kernel.state import digest, entry, rarely
from simulator.serving.kernel.static_batch import finish_batch
from simulator.serving.kernel.transfers import arrive, deal_parked, finish_reading, forgo, in_order


def _entry_point(sources: int, featured: bool) -> Any:
    """Return `advance` as compiled from these sources: an edit of any of them is another function.

    So is the form without features.
    """

    def advance(k: Any, what: int, stop_ps: int) -> int:
        """Go on up to all events at `stop_ps`, or to where Python must act; return why it came back.

        Parameters
        ----------
        k
            The state, changed in place.
        what
            ADVANCE; PLAN lets replicas that commands called plan on; DEAL empties the door first; FORGO
            takes blocks back for which the KV is lost.
        """
        _ = sources, featured
        c = k.crowd
        if FEATURED and rarely(what == FORGO):
            return REACHED if forgo(k) else MORE_SHELVES
        if rarely(what == DEAL):
            if FEATURED and rarely(c[APART] != 0):
                deal_parked(k, c[NOW])
            deal(k, c[NOW])
        if what != ADVANCE:
            c[STAGE] = PLANNING
        while True:
            if c[STAGE] == NEXT_EVENT:
                if rarely(c[UNKNOWN] != 0):
                    return POWER_UNKNOWN
                if rarely(c[DRAINED] != 0):
                    return REPLICA_DRAINED
                if what != ADVANCE:
                    return REACHED
                if c[ROWS] >= c[ROWS_WANTED]:
                    return ROWS_LIMIT
                if c[ARRIVAL] < c[ARRIVALS]:
                    arrival = k.arrived[c[ARRIVAL]]
                elif c[KNOWN] < 0:
                    return MORE_ARRIVALS
                else:
                    arrival = c[KNOWN]
                at = min(k.ends[1], arrival)
                if FEATURED and rarely(c[APART] != 0):
                    at = min(at, k.links[1])
                c[EVENT] = at
                if at > stop_ps:
                    return REACHED
                c[NOW] = at
                if c[ARRIVAL] >= c[ARRIVALS] and at == c[KNOWN]:
                    return NOBODY_KNOWN
                c[STAGE] = ENDS
            now = c[NOW]
            if c[STAGE] == ENDS:
                while k.ends[1] == now:
                    s = tree_first(k.ends)
                    first = s
                    last = s + 1
                    running = k.replica[s, RUNNING]
                    if FEATURED and rarely(c[GROUPS] > 1):
                        first = s + 1
                        last = first + c[GROUPS]
                        running = running_in(k, s)
                    if c[ROWS] + running > k.rows.shape[0]:
                        return MORE_ROWS
                    reads = k.replica[s, ROLE] == PREFILL
                    if FEATURED and rarely(reads) and c[PREFIXES] and not room_for_names(k, first, last):
                        return MORE_SHELVES
                    for row in range(first, last):
                        if k.replica[row, PLAN_END] != now:
                            continue
                        if FEATURED and rarely(reads):
                            finish_reading(k, row, now)
                            continue
                        if FEATURED and rarely(c[UNTIL_DONE] != 0):
                            finish_batch(k, row, now)
                        elif FEATURED and rarely(c[DRAFTS] != 0):
                            finish_checks(k, row)
                        else:
                            finish_decodes(k, row)
                        finish_prompts(k, row, now)
                    if FEATURED and rarely(c[GROUPS] > 1):
                        passed(k, s)
                    tree_set(k.ends, s, NEVER64)
                    call(k, s)
                if FEATURED and rarely(c[APART] != 0) and k.links[1] == now and not arrive(k, now):
                    return MORE_SHELVES
                c[STAGE] = LETTING_IN
            if c[STAGE] == LETTING_IN:
                if rarely(c[IN_LOBBY] > 0) and c[MOST_IN_FLIGHT] >= 0 and not let_in(k, now - 1):
                    return MORE_ROWS
                c[STAGE] = ARRIVING
            if c[STAGE] == ARRIVING:
                while True:
                    if c[ARRIVAL] >= c[ARRIVALS]:
                        if c[KNOWN] < 0:
                            return MORE_ARRIVALS
                        break
                    if k.arrived[c[ARRIVAL]] != now:
                        break
                    if c[ROWS] >= k.rows.shape[0]:
                        return MORE_ROWS
                    if c[FREE_REQUEST] < 0:
                        return MORE_REQUESTS
                    admit(k, now)
                c[STAGE] = PLANNING
            if FEATURED and rarely(c[APART] != 0):
                in_order(k.boundary, c[BOUNDARIES])
            for i in range(c[BOUNDARIES]):
                s = k.boundary[i]
                if not k.replica[s, BOUNDARY]:
                    continue
                first = s
                last = s + 1
                if FEATURED and rarely(c[GROUPS] > 1):
                    first = s + 1
                    last = first + c[GROUPS]
                if FEATURED and rarely(c[PREFIXES] != 0) and not room_for_names(k, first, last):
                    return MORE_SHELVES
                for row in range(first, last):
                    schedule(k, row, now)
                if FEATURED and rarely(c[GROUPS] > 1):
                    pace(k, s, now)
                tree_set(k.ends, s, k.replica[s, PLAN_END])
                r = k.replica[s]
                if r[PLAN_END] == NEVER64 and r[DRAINING] and not r[LOAD]:
                    c[DRAINED] = 1
            c[BOUNDARIES] = 0
            c[STAGE] = NEXT_EVENT

    return entry(advance if featured else with_words(advance, FEATURED=False))


_SOURCES = digest(Path(__file__).parent)
featured_advance = _entry_point(_SOURCES, True)
lean_advance = _entry_point(_SOURCES, False)


def advance(k: Any, what: int, stop_ps: int) -> Any:
    """Go on in the form that knows all that the crowd needs; see `featured_advance`."""
    return (featured_advance if asks_for_features(k.crowd) else lean_advance)(k, what, stop_ps)
