"""The arrays of a compiled crowd: how they begin, how they grow, and what moment they count from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.serving import kernel, prefix_arrays
from simulator.serving.batch_rule import BatchRule
from simulator.serving.kernel import NEVER64, UNSEEN64, State

Ints = NDArray[np.int64]

#: Fields of the kernel's crowd that are choices of a batching rule, and their names there.
CHOICES: Final = (
    (kernel.CHUNKED, "chunked"),
    (kernel.PROMPTS_APART, "prompts_apart"),
    (kernel.PADDED_BUDGET, "padded_budget"),
    (kernel.WHOLE_PROMPT, "whole_prompt"),
    (kernel.WATERMARK_ALWAYS, "watermark_always"),
    (kernel.SPARE_BLOCK, "spare_block"),
    (kernel.ADMITS_AFTER_PREEMPTION, "admits_after_preemption"),
    (kernel.KEEPS_BLOCKS, "keeps_blocks"),
)


def no_replicas(
    rule: BatchRule, *, tiers: int, cells: int, groups: int, bin_ps: int, rows: int, piece_tokens: int
) -> State:
    """Return the arrays of a crowd before its first replica and request.

    Parameters
    ----------
    rule
        Bounds of a batch.
    tiers, cells
        Classes of requests, and groups of replicas that the router keeps apart. [count]
    groups
        Groups of each replica that split its batch and advance together. [count]
    bin_ps
        Width of the power bins. [ps]
    rows
        Rows held at least before they must be taken. [count]
    piece_tokens
        Tokens of a named piece of a prompt; 0 where requests share nothing.
    """
    size, most = rule.block_tokens, rule.max_sequences
    ints = np.int64
    shares = piece_tokens > 0 and rule.keeps_blocks
    crowd = np.zeros(kernel.CROWD_FIELDS, ints)
    crowd[kernel.FREE_REQUEST] = -1
    crowd[[kernel.MOST_QUEUED, kernel.MOST_AT_DOOR, kernel.MOST_IN_FLIGHT]] = -1
    crowd[kernel.KNOWN] = -1
    crowd[kernel.PARKED] = -1
    crowd[kernel.EPOCH_PS] = bin_ps
    crowd[kernel.CELLS] = 1
    crowd[kernel.BUDGET] = rule.token_budget
    crowd[kernel.BLOCK_TOKENS] = size
    crowd[kernel.GROUPS] = groups
    crowd[kernel.PREFIXES] = int(shares)
    crowd[kernel.PIECE_BLOCKS] = piece_tokens // size
    for field, name in CHOICES:
        crowd[field] = int(getattr(rule, name))
    crowd[kernel.UNTIL_DONE], crowd[kernel.DRAFTS] = rule.until_done, rule.drafts
    crowd[kernel.DRAFT_1024] = round(rule.draft_cost_fraction * 1024)
    accepting = [bound - 1 for bound in rule.draft_thresholds if bound]
    # New tokens that all groups may have together.
    together = groups * rule.token_budget + 1 if groups > 1 else 0
    return State(
        crowd=crowd,
        replica=np.zeros((0, kernel.REPLICA_COLUMNS), ints),
        request=np.zeros((0, kernel.REQUEST_COLUMNS), ints),
        waiting=np.full((0, 2 * tiers), -1, ints),
        running=np.zeros((0, most), ints),
        prefilled=np.zeros((0, most), ints),
        heap_end=np.zeros((0, most), ints),
        heap_request=np.zeros((0, most), ints),
        phases=np.zeros((0, 2 * size), ints),
        ends=np.full(2, NEVER64, ints),
        boundary=np.zeros(0, ints),
        doors=np.full((2, 2 * tiers), -1, ints),
        entry=np.zeros((cells + 1, 0), ints),
        entries=np.zeros(cells + 1, ints),
        turns=np.zeros((cells + 1, 1), ints),
        scratch=np.zeros((2, 1), ints),
        shares=np.zeros((2, 0)),
        links=np.full(2, NEVER64, ints),
        lines=np.full((0, 4), -1, ints),
        flow=np.array([0.0, np.inf, 0.0, 0.0]),
        cost=np.zeros((0, kernel.COST_COLUMNS), ints),
        tokens_ps=np.zeros((0, rule.token_budget + 1), ints),
        shared_ps=np.zeros((0, together), ints),
        prompt_mw=np.zeros((0, rule.token_budget + 1), ints),
        power_key=np.zeros(1024, ints),
        power_mw=np.zeros(1024, ints),
        unknown=np.zeros((0, 7), ints),
        arrived=np.zeros(0, ints),
        arriving=np.zeros((0, 4), ints),
        rows=np.zeros((rows + most + 1024, 12 + shares), ints),
        totals=np.zeros((4, 3), ints),
        draft_bits=np.array([rule.draft_seed % (1 << 64), *accepting], np.uint64),
        prefixes=prefix_arrays.no_prefixes(),
    )


def more_slots(k: State, least: int) -> State:
    """Return the arrays with twice the slots, and at least so many."""
    old, sites = len(k.replica), k.shares.shape[1]
    count = max(least, 2 * old)

    def grown(values: Ints, fill: int = 0) -> Ints:
        found = np.full((count, *values.shape[1:]), fill, np.int64)
        found[:old] = values
        return found

    def wider(tree: Ints) -> Ints:
        # Leaves stand in the order of slots only if their number is a power of two.
        width = 1 << (count - 1).bit_length()
        found = np.full(2 * width, NEVER64, np.int64)
        found[width : width + old] = tree[len(tree) // 2 :][:old]
        for node in range(width - 1, 0, -1):
            found[node] = min(found[2 * node], found[2 * node + 1])
        return found

    entry = np.zeros((len(k.entry), count), np.int64)
    entry[:, :old] = k.entry[:, :old]
    shares = k.crowd[kernel.PREFIXES]
    k = k._replace(
        replica=grown(k.replica),
        waiting=grown(k.waiting, -1),
        running=grown(k.running),
        prefilled=grown(k.prefilled),
        heap_end=grown(k.heap_end),
        heap_request=grown(k.heap_request),
        phases=grown(k.phases),
        ends=wider(k.ends),
        links=wider(k.links),
        lines=grown(k.lines, -1),
        boundary=grown(k.boundary),
        entry=entry,
        scratch=np.zeros((2, max(count, sites)), np.int64),
        unknown=grown(k.unknown),
        prefixes=prefix_arrays.more_slots(k.prefixes, count) if shares else k.prefixes,
    )
    k.replica[old:, kernel.REPLICA_ID] = -1
    k.replica[old:, kernel.PLAN_END] = NEVER64
    return k


def more_sites(k: State, count: int) -> State:
    """Return the arrays with places for so many sites."""
    old = k.shares.shape[1]
    turns = np.zeros((len(k.turns), count + 1), np.int64)
    turns[:, : old + 1] = k.turns
    shares = np.zeros((2, count))
    shares[:, :old] = k.shares
    scratch = np.zeros((2, max(len(k.replica), count)), np.int64)
    return k._replace(turns=turns, shares=shares, scratch=scratch)


def more_requests(k: State) -> State:
    """Return the arrays with twice the places for requests in flight."""
    old = len(k.request)
    count = max(256, 2 * old)
    wider = np.zeros((count, kernel.REQUEST_COLUMNS), np.int64)
    wider[:old] = k.request
    wider[old:, kernel.SLOT] = kernel.UNUSED
    wider[old:, kernel.NEXT] = np.arange(old + 1, count + 1)
    wider[-1, kernel.NEXT] = k.crowd[kernel.FREE_REQUEST]
    k.crowd[kernel.FREE_REQUEST] = old
    if k.crowd[kernel.PREFIXES]:
        k = k._replace(prefixes=prefix_arrays.more_requests(k.prefixes, count))
    return k._replace(request=wider)


def room_for_rows(k: State, more: int) -> State:
    """Return the arrays with room for so many more rows."""
    held = int(k.crowd[kernel.ROWS])
    if held + more <= len(k.rows):
        return k
    wider = np.zeros((2 * (held + more), k.rows.shape[1]), np.int64)
    wider[:held] = k.rows[:held]
    return k._replace(rows=wider)


def more_costs(
    k: State, row: list[int], tokens_ps: list[int], shared_ps: list[int], prompt_mw: list[int]
) -> State:
    """Return the arrays with one more row of costs.

    Parameters
    ----------
    row
        In order of the kernel's columns of `cost`.
    tokens_ps, shared_ps
        By new tokens; at least as long as the arrays are wide, or, of `shared_ps`, empty. [ps]
    prompt_mw
        By new tokens, and as long, what an iteration draws when all are of prompts. [mW]
    """
    tokens = np.array(tokens_ps[: k.tokens_ps.shape[1]], np.int64)
    shared = np.zeros(k.shared_ps.shape[1], np.int64)
    if shared_ps:
        shared[:] = shared_ps[: len(shared)]
    return k._replace(
        cost=np.vstack((k.cost, [row])),
        tokens_ps=np.vstack((k.tokens_ps, [tokens])),
        shared_ps=np.vstack((k.shared_ps, [shared])),
        prompt_mw=np.vstack((k.prompt_mw, [np.array(prompt_mw[: k.prompt_mw.shape[1]], np.int64)])),
    )


def count_from(k: State, by_ps: int) -> None:
    """Let all times count from a later moment.

    Parameters
    ----------
    by_ps
        How much later. [ps]

    Raises
    ------
    OverflowError
        If a request in flight came so long ago that 64 bits do not hold it then; nothing is moved.
    """
    used = k.request[:, kernel.SLOT] != kernel.UNUSED
    if int(np.min(k.request[used, kernel.ARRIVED], initial=0)) < -(1 << 62):
        raise OverflowError("a request has waited for more than 50 days")
    k.crowd[kernel.NOW] -= by_ps
    k.replica[:, kernel.PLAN_START] -= by_ps
    k.replica[k.replica[:, kernel.SINCE] != NEVER64, kernel.SINCE] -= by_ps
    planned = k.replica[:, kernel.PLAN_END] != NEVER64
    k.replica[planned, kernel.PLAN_END] -= by_ps
    k.ends[k.ends != NEVER64] -= by_ps
    # Those that end later than can be counted stay there.
    k.links[k.links < NEVER64 - 1] -= by_ps
    k.crowd[kernel.EPOCH] -= by_ps // int(k.crowd[kernel.EPOCH_PS])
    for column in (kernel.ARRIVED, kernel.STARTED, kernel.FIRST_TOKEN):
        known = used & (k.request[:, column] != UNSEEN64)
        k.request[known, column] -= by_ps
