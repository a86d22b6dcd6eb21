from __future__ import annotations

import math

import pytest

from simulator.decisions import Scale, ServiceView
from simulator.foundation.plugins import fields_of
from simulator.serving import AUTOSCALERS, ROUTERS
from simulator.serving.autoscale import ConcurrencyScaler, NoScaling, QueueScaler
from simulator.serving.crowd import ServiceError
from simulator.serving.routers import Dispatch, SiteShares


def view(**said):
    known = {
        "name": "chat",
        "pool": "",
        "now_s": 1000.0,
        "queue_length": 0,
        "running": 0,
        "kv_fraction": 0.0,
        "replicas_ready": 4,
        "replicas_asked": 4,
        "replicas_minimum": 1,
        "replicas_maximum": 8,
        "ceiling_replicas": None,
        "since_change_s": 1e6,
    }
    return ServiceView(**{**known, **said})


SCALER = QueueScaler(queue_above=2.0, load_below=4.0, settle_s=600.0, most_at_once=3)


@pytest.mark.parametrize(
    ("seen", "replicas"),
    [
        ({"queue_length": 9, "running": 100}, 5),
        ({"queue_length": 100, "running": 100}, 7),
        ({"queue_length": 8, "running": 100}, None),
        ({"queue_length": 100, "running": 100, "ceiling_replicas": 5}, 5),
        ({"queue_length": 100, "running": 100, "replicas_asked": 8, "replicas_ready": 8}, None),
        ({"queue_length": 100, "running": 100, "replicas_asked": 6, "since_change_s": 60.0}, None),
        ({"queue_length": 100, "running": 100, "replicas_asked": 6, "since_change_s": 700.0}, 8),
        ({"queue_length": 1, "replicas_ready": 0, "replicas_asked": 1}, 2),
        ({"running": 15}, 3),
        ({"running": 16}, None),
        ({"running": 0, "since_change_s": 599.0}, None),
        ({"running": 0, "replicas_asked": 1, "replicas_ready": 1}, None),
    ],
)
def test_the_queue_scaler_asks_for(seen, replicas):
    answers = tuple(SCALER.step(view(**seen)))
    assert answers == (() if replicas is None else (Scale("chat", "", replicas),))


@pytest.mark.parametrize(
    ("seen", "replicas"),
    [
        ({"kv_fraction": 0.81, "running": 100}, 5),
        ({"kv_fraction": 0.80, "running": 100}, None),
        ({"kv_fraction": 0.81, "queue_length": 100, "running": 100}, 7),
        ({"kv_fraction": 0.95, "running": 100, "replicas_asked": 6, "since_change_s": 60.0}, None),
    ],
)
def test_a_full_cache_asks_for_one_more(seen, replicas):
    scaler = QueueScaler(kv_above_fraction=0.8, most_at_once=3)
    assert scaler.watch(view()).kv_above_fraction == 0.8
    answers = tuple(scaler.step(view(**seen)))
    assert answers == (() if replicas is None else (Scale("chat", "", replicas),))


CONCURRENT = ConcurrencyScaler(target=10.0, settle_s=300.0)


@pytest.mark.parametrize(
    ("seen", "replicas"),
    [
        # Four are ready for 40; up to a tenth more or less changes nothing.
        ({"running": 44}, None),
        ({"running": 40, "queue_length": 5}, 5),
        ({"running": 61}, 7),
        ({"running": 500}, 8),
        ({"running": 500, "ceiling_replicas": 6}, 6),
        ({"running": 61, "replicas_asked": 7}, None),
        ({"running": 36}, None),
        ({"running": 29}, 3),
        ({"running": 29, "since_change_s": 299.0}, None),
        ({"running": 0}, 1),
        ({"running": 0, "queue_length": 3, "replicas_ready": 0, "replicas_asked": 1}, None),
        ({"running": 0, "queue_length": 25, "replicas_ready": 0, "replicas_asked": 1}, 3),
    ],
)
def test_the_concurrency_scaler_asks_for(seen, replicas):
    answers = tuple(CONCURRENT.step(view(**seen)))
    assert answers == (() if replicas is None else (Scale("chat", "", replicas),))


def test_the_concurrency_scaler_watches_the_edges_of_its_tolerance():
    watch = CONCURRENT.watch(view())
    assert (watch.load_above, watch.load_below) == (pytest.approx(11.0), pytest.approx(9.0))
    assert CONCURRENT.watch(view(replicas_asked=8)).load_above == math.inf
    assert CONCURRENT.watch(view(replicas_asked=1)).load_below == 0.0
    with pytest.raises(ValueError, match="target 0"):
        ConcurrencyScaler(target=0.0)


def test_a_cache_may_be_full_where_nobody_set_a_threshold():
    assert SCALER.watch(view()).kv_above_fraction == math.inf
    assert tuple(SCALER.step(view(kv_fraction=1.0, running=100))) == ()


class Astray:
    """Picks a replica that takes no requests."""

    def pick(self, turn, candidates, loads, found, filled):
        return 7


def test_a_router_that_picks_a_closed_replica_is_told_so():
    with pytest.raises(ServiceError, match=r"router Astray picked 7, .* that take requests: 0, 2"):
        Dispatch(Astray()).pick("entry", [0, 2], [0, 0, 0], ["a", "a", "a"], lambda _: 0, lambda _: 0.0)


def test_it_watches_only_what_could_change_something():
    both = SCALER.watch(view())
    assert (both.queue_above, both.load_below, both.every_s) == (2.0, 4.0, 60.0)
    assert SCALER.watch(view(replicas_asked=8)).queue_above == math.inf
    assert SCALER.watch(view(replicas_asked=1)).load_below == 0.0
    assert SCALER.watch(view(replicas_asked=4, ceiling_replicas=4)).queue_above == math.inf
    assert SCALER.watch(view(replicas_minimum=4, replicas_maximum=4)) is None


def test_no_scaling_watches_and_does_nothing():
    assert NoScaling().watch(view()) is None
    assert tuple(NoScaling().step(view(queue_length=10**6))) == ()


def test_impossible_thresholds_are_refused():
    with pytest.raises(ValueError, match="most_at_once 0"):
        QueueScaler(most_at_once=0)


@pytest.mark.parametrize("table", [AUTOSCALERS, ROUTERS])
def test_every_plug_in_tells_its_fields(table):
    for name, plugin in table.items():
        assert name == name.lower()
        for info in fields_of(plugin):
            assert info.meaning.endswith("."), (name, info.name)


def test_shares_of_sites_are_kept_as_evenly_as_whole_requests_allow():
    shares = SiteShares((("a", 0.5), ("b", 0.3), ("c", 0.2)))
    dealt = [shares.next(("a", "b", "c")) for _ in range(1000)]
    assert [dealt.count(site) for site in "abc"] == [500, 300, 200]
    for count in range(1, 1001, 37):
        assert abs(dealt[:count].count("a") - 0.5 * count) <= 1.0


def test_a_closed_site_gives_its_share_to_the_others():
    shares = SiteShares((("a", 1.0), ("b", 1.0)))
    assert {shares.next(("b",)) for _ in range(5)} == {"b"}
    assert shares.next(("c",)) is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((("a", 1.0), ("a", 2.0)), "named twice"),
        ((("a", 0.0),), "one above 0"),
        ((("a", math.nan),), "0 or more"),
    ],
)
def test_impossible_shares_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        SiteShares(weights)
