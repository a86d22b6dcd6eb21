"""Which form a service takes, why, and that a wait for the compiler is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from numba.core import event

from simulator.serving.batch_rule import ENGINES
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.compiling import MESSAGE, Announcer
from simulator.serving.full_crowd import COMPILED_FROM, COMPILED_FROM_SHARED, form_of, full_crowd
from simulator.serving.routers import PrefixAware, RoundRobin
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd


class Own(RoundRobin):
    """A rule from outside."""


RULES = ServiceRules("chat")
SHARED = replace(RULES, router=PrefixAware(), piece_tokens=512)


@pytest.mark.parametrize(
    ("rules", "expected", "options", "name", "reason"),
    [
        (RULES, COMPILED_FROM, {}, "compiled", "100,000 requests or more"),
        (RULES, COMPILED_FROM - 1, {}, "twin", "fewer than 100,000"),
        (replace(RULES, router=Own()), 1e9, {}, "twin", "router Own is not compiled"),
        (SHARED, COMPILED_FROM_SHARED, {}, "compiled", "10,000 requests or more"),
        (SHARED, COMPILED_FROM_SHARED - 1, {}, "twin", "fewer than 10,000"),
        (replace(RULES, rule=ENGINES["static"]), 1e9, {}, "compiled", "100,000 requests or more"),
        (replace(RULES, rule=replace(RULES.rule, drafts=3)), 1e9, {}, "compiled", "100,000 requests or more"),
        (replace(RULES, attention_data_parallel=2), 1e9, {}, "compiled", "100,000 requests or more"),
        (RULES, 1e9, {"tabulated": True}, "twin", "a measured table"),
    ],
)
def test_the_form_and_its_reason(rules, expected, options, name, reason):
    options = {"tabulated": False} | options
    form = form_of(rules, expected, **options)
    assert form.name == name
    assert reason in form.reason
    crowd = full_crowd(rules, None, expected_requests=expected, **options)
    assert type(crowd) is {"twin": TwinCrowd, "compiled": CompiledCrowd}[name]


def compiled(module):
    """Tell listeners that a function of a module is compiled."""
    data = {"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))}
    with event.trigger_event("numba:compile", data=data):
        pass


def test_compiling_is_told_once_and_only_of_the_kernel(caplog):
    with (
        caplog.at_level(logging.INFO, "simulator.serving"),
        event.install_listener("numba:compile", Announcer("a.kernel")),
    ):
        compiled("another.kernel.events")
        compiled("a.kernel_like")
        assert not caplog.messages
        compiled("a.kernel.batch")
        compiled("a.kernel.events")
    assert caplog.messages == [MESSAGE]
