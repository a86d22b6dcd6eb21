"""A crowd with round numbers: every iteration takes a tenth of a second, whatever is in it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.batch_rule import BatchRule
from simulator.serving.crowd import AddReplica, Stop
from simulator.serving.given_replica import GivenReplica, linear_iteration
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.requests import RequestTable

TENTH = GivenReplica(
    linear_iteration(fixed_s=0.1, most_tokens=8192),
    idle_power_w=100.0,
    prefill_power_w=600.0,
    decode_base_w=300.0,
    decode_w_per_sequence=10.0,
)


@pytest.fixture
def tenth():
    return TENTH


@pytest.fixture
def requests():
    """Make a table from (arrival, prompt, output[, tier])."""

    def make(*rows):
        columns = list(zip(*[(*row, 0)[:4] for row in rows], strict=True)) or [(), (), (), ()]
        return RequestTable(
            np.array(columns[0], dtype=np.float64),
            *(np.array(column, dtype=np.int64) for column in columns[1:]),
        )

    return make


@pytest.fixture
def crowd(requests):
    """Make a crowd with replicas and requests; rules by keyword."""

    def make(*rows, replicas=1, profile=TENTH, blocks=1000, gpus=2, rule=None, **rules):
        made = TwinCrowd(ServiceRules("chat", rule=rule or BatchRule(watermark_fraction=0.0), **rules))
        for number in range(replicas):
            made.apply(AddReplica(number, "here", "mixed", gpus, profile, blocks), 0.0)
        made.feed(requests(*rows), math.inf)
        return made

    return make


@pytest.fixture
def rows_after():
    """Advance and return the rows as a list of dictionaries, in completion order."""

    def run(made, until_s):
        while made.advance(until_s) is not Stop.REACHED:
            made.fired()
        columns = made.take_rows()
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    return run
