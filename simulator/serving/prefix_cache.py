"""KV blocks with names, so that prompts which begin alike share them, as in vLLM V1.

A full block is named by all tokens up to its end. Freed blocks keep their names until they are
taken again, from the head of a queue of least recent use; a hit takes a block out of the queue.
Blocks of equal name are not merged: the one that was named first is found.

References
----------
Kwon et al., "Efficient memory management for large language model serving with PagedAttention",
SOSP 2023; Qin et al., "Mooncake", FAST 2025 (names of pieces of 512 tokens).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from simulator.serving.batch_rule import BatchRule
from simulator.serving.kv_blocks import KvBlocks
from simulator.serving.request import Request


class PrefixCache(KvBlocks):
    """Blocks that are named.

    Parameters
    ----------
    piece_tokens
        Tokens that one name of a request's `pieces` stands for; a multiple of the block's.
    """

    __slots__ = ("_index", "_name", "_per_piece", "_queue", "_tables", "_users")

    def __init__(
        self, blocks: int, rule: BatchRule, waiting: Sequence[deque[Request]], piece_tokens: int
    ) -> None:
        if piece_tokens % rule.block_tokens:
            raise ValueError(
                f"prefixes of pieces of {piece_tokens} tokens do not go with blocks of {rule.block_tokens}"
            )
        super().__init__(blocks, rule, waiting)
        self._per_piece = piece_tokens // rule.block_tokens
        self._queue: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self._name: list[tuple[int, int] | None] = [None] * blocks
        self._users = [0] * blocks
        self._index: dict[tuple[int, int], OrderedDict[int, None]] = {}
        self._tables: dict[int, list[int]] = {}
        """Blocks of each request by number, in order of its tokens."""

    def found(self, request: Request) -> int:
        """Return how many leading blocks a waiting request would find. Changes nothing."""
        return len(self._run(request))

    def missing(self, request: Request, found: int) -> int:
        """Return how many free blocks all that a waiting request has to compute would use up."""
        shared = sum(self._users[block] > 0 for block in self._run(request)[:found]) if found else 0
        return self._rule.blocks_of(request.target) - shared

    def admit(self, request: Request, found: int, blocks: int, tokens: int) -> None:
        """Let a request have its first blocks; see `KvBlocks.admit`."""
        if request.sender < 0:
            self.looked_tokens += request.target
            self.hit_tokens += found * self._rule.block_tokens
        table = self._tables[request.number] = self._run(request)[:found] if found else []
        for block in table:
            if not self._users[block]:
                del self._queue[block]
            self._users[block] += 1
        self.free = len(self._queue)
        self.extend(request, blocks - found, tokens)

    def extend(self, request: Request, more: int, tokens: int) -> None:
        """Let a request have more blocks, and name those that `tokens` fill."""
        table = self._tables[request.number]
        for _ in range(more):
            block, _ = self._queue.popitem(last=False)
            self._forget(block)
            self._users[block] = 1
            table.append(block)
        self.taken += more
        self.free = len(self._queue)
        full = named = tokens // self._rule.block_tokens
        # All before the last one that has a name have one too.
        while named and self._name[table[named - 1]] is None:
            named -= 1
        for place in range(named, full):
            name = self._name[table[place]] = self._named(request, place)
            self._index.setdefault(name, OrderedDict())[table[place]] = None

    def grow(self, decodes: Iterable[Request], generation: int, more: int) -> None:
        """Let decodes have the blocks that they need up to a generation of their token clock."""
        for request in decodes:
            if request.token >= 0:
                tokens = request.base + generation
                held = len(self._tables[request.number])
                self.extend(request, self._rule.blocks_of(tokens) - held, tokens)

    def give(self, request: Request, blocks: int) -> None:
        """Take a request's blocks back, the last first."""
        for block in reversed(self._tables.pop(request.number)):
            self._users[block] -= 1
            if not self._users[block]:
                self._queue[block] = None
        self.free = len(self._queue)

    def preempt(self, request: Request, blocks: int, computed: int) -> None:
        """Take the blocks of a request back that will come again."""
        self.give(request, blocks)

    def _run(self, request: Request) -> list[int]:
        """Return the leading blocks of a request that are here; one token is always left to compute."""
        run: list[int] = []
        for place in range((request.target - 1) // self._rule.block_tokens):
            among = self._index.get(self._named(request, place))
            if not among:
                break
            run.append(next(iter(among)))
        return run

    def _named(self, request: Request, place: int) -> tuple[int, int]:
        """Return the name of a request's full block: shared, or its own."""
        piece = place // self._per_piece
        ends = (place + 1) * self._rule.block_tokens
        if ends <= request.prompt and piece < len(request.pieces):
            return request.pieces[piece], place % self._per_piece
        return -1 - request.number, place

    def _forget(self, block: int) -> None:
        name = self._name[block]
        if name is not None:
            among = self._index[name]
            del among[block]
            if not among:
                del self._index[name]
            self._name[block] = None
