"""Names of the columns and values in the arrays of `state.State`: the words that all of the kernel uses."""

from __future__ import annotations

import numpy as np

#: Whether a form of the kernel knows the features that most services lack; `forms` makes one that does
#: not, and what follows `if FEATURED and` is not compiled into it.
FEATURED = True

#: Later than any event.
NEVER64 = np.iinfo(np.int64).max
#: No plan lasts longer than this; a longer run of decode is cut in two. [ps]
LONGEST_PS = 1 << 61

# Columns of `State.replica`, those of every plan together.
(
    REPLICA_ID, SITE, HEAD, ROLE, COST, NEXT_COST, BLOCKS, WATERMARK, FREE, TAKEN, GROWN, MOST_SEQUENCES,
    WAITING, READY, RUNNING, GENERATION, DECODES, CONTEXT, PARTIAL, PREFILLED, NEW_SEQUENCES, NEW_TOKENS,
    NEW_PAIRS, STANDS, ORDER, JOINED, HEAP, STALE, PLAN_START, PLAN_END, STEPS, FIRST_PS, GROWTH_PS,
    BOUNDARY, ITERATIONS, PLANS, LOAD, DRAINING, LEVEL_MW, SINCE, LARGEST_MW, DOING, PLACES, LONGEST, DUE,
    METER,
) = range(46)  # fmt: skip

# Values of ROLE.
MIXED, PREFILL, DECODE = range(3)

# Values of DOING, as in `power_meter`; several groups together do any of what each does.
DOES_NOTHING, DOES_PROMPTS, DOES_DECODES, DOES_BOTH = range(4)
# From column METER on, for each of those:
TIME_PS, ENERGY_HIGH, ENERGY_LOW, METER_FIELDS = range(4)
REPLICA_COLUMNS = METER + 4 * METER_FIELDS

# Columns of `State.request`.
(
    NUMBER, ARRIVED, PROMPT, OUTPUT, TIER, PREEMPTIONS, ATTEMPTS, STARTED, FIRST_TOKEN, EMITTED, COMPUTED,
    TARGET, PLACE_ORDER, TOKEN, END, BASE, PHASE, NEXT, PLACE, SLOT, HASHED, HELD, MARK,
    REQUEST_COLUMNS,
) = range(24)  # fmt: skip

#: `request[FIRST_TOKEN]` and `request[STARTED]` before there is one; times before the base are below zero.
UNSEEN64 = np.iinfo(np.int64).min

# Values of `request[TOKEN]` while a prompt is read and its KV not yet where it will be decoded: without
# blocks there, and with. Its SLOT is the sender's then, and columns of decodes say who waits for it,
# since when, and since when it has blocks there.
HANDED, COMING = -2, -3
RECEIVER, HANDED_PLACE, COMING_PLACE = BASE, END, PHASE

# Values of `request[SLOT]` beside the slot of a replica: not in use, at the door.
UNUSED, LOBBY = -1, -2

# Fields of `State.crowd`.
(
    NOW, STAGE, EVENT, ROWS, ROWS_WANTED, ARRIVAL, ARRIVALS, KNOWN, FREE_REQUEST, IN_LOBBY, QUEUED, LOADED,
    REQUESTS_IN, PROMPTS_IN, OUTPUTS_IN, BOUNDARIES, DRAINED, MOST_QUEUED, CELLS, ROUTER, SHARED, BUDGET,
    BLOCK_TOKENS, UNKNOWN, PREEMPTED, CHUNKED, PROMPTS_APART, PADDED_BUDGET, WHOLE_PROMPT, WATERMARK_ALWAYS,
    SPARE_BLOCK, ADMITS_AFTER_PREEMPTION, KEEPS_BLOCKS, LOOKED, HIT, GROUPS, PREFIXES, PIECE_BLOCKS,
    MOST_AHEAD, UNTIL_DONE, DRAFTS, DRAFT_1024, APART, BETWEEN, PARKED, LAST_PARKED, EPOCH_PS, EPOCH, EPOCHS,
    MOST_AT_DOOR, MOST_IN_FLIGHT, LOST, UNDER_WAY, CROWD_FIELDS,
) = range(54)  # fmt: skip

# Values of ROUTER.
ROUND_ROBIN, LEAST_OUTSTANDING, PREFIX_AWARE, LEAST_KV = range(4)

# What a call is for.
ADVANCE, PLAN, DEAL, FORGO = range(4)

# Why a call came back.
(
    REACHED, ROWS_LIMIT, NOBODY_KNOWN, MORE_ARRIVALS, MORE_ROWS, MORE_REQUESTS, POWER_UNKNOWN,
    REPLICA_DRAINED, MORE_SHELVES,
) = range(9)  # fmt: skip

# Steps of one instant, in `crowd[STAGE]`.
NEXT_EVENT, ENDS, LETTING_IN, ARRIVING, PLANNING = range(5)

# States of rows, as in the ledger.
OK, SHED, FAILED, RETRIED = range(4)

# Columns of `State.cost`.
(
    SEQUENCE_PS, CONTEXT_PS, PAIR_PS_1024, IDLE_MW, MIXED_CONTEXT_PS, BESIDE_MW, COST_COLUMNS,
) = range(7)  # fmt: skip

# Queues in a row of `State.lines`: KV to send, and requests whose KV has come.
LINK, CAME = range(2)

# Columns of `State.flow`.
KV_BYTES, BYTES_PER_S, SENT, SENT_BEFORE = range(4)

#: Mean context is rounded to this for the watts of a decode batch, as in `replica_costs`. [tokens]
CONTEXT_BUCKET = 512
PAIR_SHIFT = 10
ENERGY_SHIFT = 20

# Columns of `Prefixes.counts`.
(
    ALL_BLOCKS, TOUCHED, OLDEST, NEWEST, SPANS_TOUCHED, FREE_SPAN, SHELVES_TOUCHED, SHELVES_USED,
    SHELVES_WANTED, FREE_SHELF, CACHE_COUNTS,
) = range(11)  # fmt: skip

# Columns of `Prefixes.span`.
START, COUNT, USERS, OWNER, BEFORE, AFTER, SHELF, SHELF_BEFORE, SHELF_AFTER, SPAN_COLUMNS = range(10)

# Columns of `Prefixes.shelf`.
DIRECTORY_PLACE, FIRST_SPAN, LAST_SPAN, SHELF_COLUMNS = range(4)

# Columns of `Prefixes.sharer`.
PIECE, PIECES, CACHED, HOLD, SHARER_COLUMNS = range(5)

# Columns of `Prefixes.hold`.
FOUND, NAMED, HOLDS, LAST_SPAN_OWN, HOLD_COLUMNS = range(5)
