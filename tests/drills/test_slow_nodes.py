"""Drills: nodes that compute slowly, runs that wait for them, runs that are slow; answers by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simulator.engine.build_training import TrainingBuilder
from simulator.foundation.errors import ScenarioError
from simulator.foundation.streams import Streams
from simulator.foundation.time_grid import Priority
from tests.drills.test_reliability import MFU, by_use, phases, scenario

SLOW = "{slow_nodes: {share: 100 %, slowdown: 10 %}}"
EJECTED = "{slow_nodes: {share: 100 %, slowdown: 10 %, ejected_after: 1100 s, replacement: 1000 s}}"
AGAIN = "recovery: {detect: 60 s, diagnose: 120 s, launch: 180 s, warm_up: 40 s}"


def plain(**changes):
    return scenario(**({"script": "", "spares": 0} | changes))


def test_a_run_is_as_slow_as_its_slowest_node(drill):
    """5000 steps of 2.2 s instead of 2 s; the tenth is waiting for the slowest."""
    run = drill(plain(failures=SLOW))
    assert run.job("run")["finished_s"] == pytest.approx(11_000.0, rel=1e-9)
    assert by_use(run) == pytest.approx({"productive": 32 * 10_000.0, "straggler": 32 * 1000.0}, rel=1e-9)


@pytest.mark.parametrize(("seed", "among_first_four", "step_s"), [(1, [1, 3], 2.2), (2, [], 2.0)])
def test_one_slow_node_holds_up_the_run_that_has_it(drill, seed, among_first_four, step_s):
    """A fifth of 20 nodes may be slow, each by its own draw; the run lies on the first four."""
    found = []
    acts = [(0.0, Priority.SIGNAL, lambda engine: found.append(engine.slow_nodes.slow[0]))]
    run = drill(plain(failures=SLOW.replace("100 %", "20 %"), nodes=20), f"seed={seed}", acts=acts)
    assert [node for node in range(4) if found[0] >> node & 1] == among_first_four
    assert 0 < found[0].bit_count() < 20
    assert run.job("run")["finished_s"] == pytest.approx(5000 * step_s, rel=1e-9)


def test_slow_nodes_are_found_and_replaced(drill):
    """Nodes 1, 3, 4 and 6 of 8 are slow. After 1100 s, 500 steps, the run saves itself and takes 4 and 5
    for 1 and 3, 180 + 40 s; after 500 steps on those it takes 1 for 4, sound by then. The last 4000
    steps take 8000 s. Nothing is to be noticed or diagnosed, and nothing is lost.
    """
    text = plain(failures=EJECTED.replace("100 %", "20 %"), nodes=8, more=AGAIN)
    run = drill(text.replace("duration", "seed: 1\nduration", 1))
    assert phases(run) == [
        ("starting", 0.0, 220.0, 32),
        ("running", 220.0, 1320.0, 32),
        ("recovering", 1320.0, 1540.0, 32),
        ("running", 1540.0, 2640.0, 32),
        ("recovering", 2640.0, 2860.0, 32),
        ("running", 2860.0, 10_860.0, 32),
    ]
    use = by_use(run)
    assert "lost" not in use
    assert use["straggler"] == pytest.approx(32 * 1000 * 0.2, rel=1e-9)
    assert run.job("run")["restarts"] == 2


def test_a_spare_stands_in_and_the_rest_wait_for_another(drill):
    """One spare: one node of four leaves at each look, 1100 s of computing apart, while any is slow.

    Nodes 0, 1, 2, 3 leave in turn (each replacement, 1000 s, is back as the spare by then), and the
    slow spare that took the first place leaves fifth.
    """
    run = drill(plain(failures=EJECTED, nodes=5, spares=1))
    assert run.job("run")["restarts"] == 5
    # 5 x 500 steps at 2.2 s, the other half at 2 s, no time to start again.
    assert run.job("run")["finished_s"] == pytest.approx(5 * 1100.0 + 5000.0, rel=1e-9)


def test_without_a_node_to_take_it_stays(drill):
    run = drill(plain(failures=EJECTED, nodes=4))
    assert run.job("run")["restarts"] == 0
    assert run.job("run")["finished_s"] == pytest.approx(11_000.0, rel=1e-9)


def test_a_modelled_step_is_slower_by_its_arithmetic(drill):
    """Ten per cent of arithmetic and optimiser, at the watts of waiting; exchange takes no longer."""
    layout = "    parallelism: {tp: 8, dp: 4}\n"
    sound, slow = (
        drill(plain(failures=failures).replace(f"    mfu: {MFU!r}\n", layout)) for failures in ("none", SLOW)
    )
    part = sound.record.layouts[0].step_s
    more_s = 0.1 * (part["compute_s"] + part["optimizer_s"])
    step_s = sum(part.values())
    assert slow.job("run")["finished_s"] == pytest.approx(5000 * (step_s + more_s), rel=1e-6)
    straggling = (part["straggler_s"] + more_s) / (step_s + more_s)
    assert slow.record.jobs.straggler_share[0] == pytest.approx(straggling, rel=1e-6)
    watts = [run.segments("run")[-1][5] for run in (sound, slow)]
    assert 0.9 * watts[0] < watts[1] < watts[0]


def test_a_run_may_be_slow_by_itself(drill):
    """Given: 25 % longer, 2.5 s a step, wherever it lies."""
    run = drill(plain(more="slowdown: 25 %"))
    assert run.job("run")["finished_s"] == pytest.approx(12_500.0, rel=1e-9)
    assert by_use(run)["straggler"] == pytest.approx(32 * 2500.0, rel=1e-9)
    # With a slow node on top: 10 % of the 2 s that are arithmetic.
    run = drill(plain(more="slowdown: 25 %", failures=SLOW))
    assert run.job("run")["finished_s"] == pytest.approx(13_500.0, rel=1e-9)


def test_drawn_slowdowns_are_those_of_a_published_fleet():
    """42.5 % of jobs at least 10 % slower, the worst tenth 27 % (OSDI 2025); 3 sigma of 4000 draws."""
    builder = TrainingBuilder(SimpleNamespace(streams=Streams(7)))
    said = SimpleNamespace(median_fraction=0.073, sigma=0.13)
    drawn = [builder._slowdown(SimpleNamespace(name=f"run-{n}", slowdown=said)) for n in range(4000)]
    assert sum(more >= 0.10 for more in drawn) / 4000 == pytest.approx(0.425, abs=0.024)
    assert sum(more >= 0.27 for more in drawn) / 4000 == pytest.approx(0.10, abs=0.015)
    assert min(drawn) == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (plain(failures=EJECTED, checkpoint="~"), "no training run has a `checkpoint`"),
        (
            plain(failures="{slow_nodes: {share: 1 %, slowdown: 5 %, replacement: 1 h}}"),
            "without ejected_after",
        ),
        (plain(more="slowdown: 0 %"), "median and sigma are 0"),
        (
            plain(more="slowdown: {median: 7 %, sigma: 0.13}", failures="{slow_nodes: {share: 1 %}}"),
            "slowdown",
        ),
    ],
)
def test_what_has_no_effect_is_refused(drill, text, said):
    with pytest.raises(ScenarioError, match=said):
        drill(text)
