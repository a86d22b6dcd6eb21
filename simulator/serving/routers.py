"""Which replica gets a request: rules that look at open replicas and what each has in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from simulator.foundation.quantity import Count
from simulator.serving.crowd import ServiceError

#: How many leading KV blocks a request would find on a replica. [blocks]
Found = Callable[[int], int]
#: The share of a replica's KV blocks that are in use now; of several attention groups the fullest's.
Filled = Callable[[int], float]


class Router(Protocol):
    """Chooses among replicas. Stateless: the crowd counts the turns."""

    def pick(
        self, turn: int, candidates: Sequence[int], loads: Sequence[int], found: Found, filled: Filled
    ) -> int:
        """Return one of `candidates`.

        Parameters
        ----------
        turn
            Requests that were routed among replicas like these before. [count]
        candidates
            Replicas that take requests, as ascending positions in `loads`; never empty.
        loads
            Requests in flight by replica, waiting ones among them. [count]
        found
            Tells how many leading KV blocks the request would find on a replica. [blocks]
        filled
            Tells the share of a replica's KV blocks that are in use.
        """
        ...


@dataclass(frozen=True)
class RoundRobin:
    """One after the other."""

    def pick(
        self, turn: int, candidates: Sequence[int], loads: Sequence[int], found: Found, filled: Filled
    ) -> int:
        """Return the candidate whose turn it is."""
        return candidates[turn % len(candidates)]


@dataclass(frozen=True)
class LeastOutstanding:
    """The replica with the fewest requests in flight; the lowest-numbered of equals."""

    def pick(
        self, turn: int, candidates: Sequence[int], loads: Sequence[int], found: Found, filled: Filled
    ) -> int:
        """Return the least loaded candidate."""
        return min(candidates, key=loads.__getitem__)


@dataclass(frozen=True)
class LeastKv:
    """The replica with the smallest share of its KV blocks in use.

    Of equals the one with the fewest requests in flight, of those the lowest-numbered. Requests that
    wait have no blocks yet.
    """

    def pick(
        self, turn: int, candidates: Sequence[int], loads: Sequence[int], found: Found, filled: Filled
    ) -> int:
        """Return the emptiest candidate."""
        return min(candidates, key=lambda slot: (filled(slot), loads[slot]))


#: Rules that do not look at prompts: which replica a request goes to says nothing of what it remembers.
BLIND: Final = (RoundRobin, LeastOutstanding, LeastKv)


@dataclass(frozen=True)
class PrefixAware:
    """The replica that remembers most of the prompt, among those that are not much busier than another.

    Of replicas that remember as much, the least loaded, the lowest-numbered of equals.
    """

    most_ahead: Annotated[
        Count, "A replica with more requests in flight than this above the fewest is passed over."
    ] = 8

    def pick(
        self, turn: int, candidates: Sequence[int], loads: Sequence[int], found: Found, filled: Filled
    ) -> int:
        """Return the candidate that remembers most."""
        bound = min(loads[slot] for slot in candidates) + self.most_ahead
        calm = [slot for slot in candidates if loads[slot] <= bound]
        return max(calm, key=lambda slot: (found(slot), -loads[slot], -slot))


class SiteShares:
    """Deals requests to sites by weight, as evenly as whole requests allow.

    Each site earns its share of every request and pays one when it gets it; the site with the
    most credit is next, the first named of equals.

    Parameters
    ----------
    weights
        (site, weight), weights 0 or more, not all 0.

    Examples
    --------
    >>> shares = SiteShares((("a", 3.0), ("b", 1.0)))
    >>> "".join(shares.next(("a", "b")) for _ in range(8))
    'aabaaaba'
    """

    def __init__(self, weights: Sequence[tuple[str, float]]) -> None:
        names = [name for name, _ in weights]
        if len(set(names)) != len(names):
            raise ValueError(f"site weights {list(weights)}: a site is named twice")
        if any(not weight >= 0.0 for _, weight in weights) or not sum(weight for _, weight in weights) > 0.0:
            raise ValueError(f"site weights {list(weights)}: each must be 0 or more, and one above 0")
        self._weights = dict(weights)
        self._credit = dict.fromkeys(names, 0.0)

    def next(self, open_sites: Sequence[str]) -> str | None:
        """Return the site that gets the next request; None if no open site has a weight."""
        among = [site for site in open_sites if self._weights.get(site, 0.0) > 0.0]
        if not among:
            return None
        total = sum(self._weights[site] for site in among)
        for site in among:
            self._credit[site] += self._weights[site] / total
        # First named of equals: Python's max keeps the first.
        chosen = max(among, key=self._credit.__getitem__)
        self._credit[chosen] -= 1.0
        return chosen


class Dispatch:
    """The routing of one crowd: a router, the turns it has had, and shares of sites if set.

    Parameters
    ----------
    router
        Chooses among the replicas of a site, or among all where no shares are set.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._turns: dict[tuple[str, str], int] = {}
        self.shares: SiteShares | None = None

    def pick(
        self,
        stage: str,
        candidates: Sequence[int],
        loads: Sequence[int],
        sites: Sequence[str],
        found: Found,
        filled: Filled,
    ) -> int | None:
        """Return a replica for the next request of a stage; None if none is open to it.

        Parameters
        ----------
        stage
            entry or decode: each counts its own turns.
        candidates
            Open replicas as ascending positions in `loads` and `sites`.
        loads
            Requests in flight by replica. [count]
        sites
            Site by replica.
        found, filled
            As `Router.pick`.
        """
        if not candidates:
            return None
        site = ""
        if self.shares is not None:
            # A dict keeps the order in which sites appear; a set would not.
            chosen = self.shares.next(tuple(dict.fromkeys(sites[slot] for slot in candidates)))
            if chosen is None:
                return None
            site = chosen
            candidates = [slot for slot in candidates if sites[slot] == site]
        turn = self._turns.get((stage, site), 0)
        self._turns[stage, site] = turn + 1
        picked = self._router.pick(turn, candidates, loads, found, filled)
        if picked not in candidates:
            raise ServiceError(
                f"router {type(self._router).__name__} picked {picked!r}, which is none of the replicas "
                f"that take requests: {', '.join(map(str, candidates))}"
            )
        return picked
