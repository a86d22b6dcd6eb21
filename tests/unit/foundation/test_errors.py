from __future__ import annotations

import pickle

import pytest

from simulator.foundation import (
    AuditError,
    DatahallError,
    Problem,
    ScenarioError,
    TraceError,
    UnitError,
    UnknownNameError,
)
from simulator.foundation import errors as errors_module


def test_a_problem_says_where_what_and_what_instead():
    problem = Problem(
        "unknown name 'gpus_per_nod'", "bad.yaml", 6, 3, "cluster.gpus_per_nod", "did you mean x?"
    )
    assert str(problem) == (
        "bad.yaml:6:3: cluster.gpus_per_nod: unknown name 'gpus_per_nod'\n    did you mean x?"
    )
    assert str(Problem("the file is empty", "bad.yaml")) == "bad.yaml: the file is empty"
    assert str(Problem("no such thing", line=2, column=5)) == "2:5: no such thing"


def test_several_problems_are_counted_and_one_is_not():
    first, second = Problem("a", "f", 1, 1), Problem("b", "f", 2, 1)
    assert str(ScenarioError([first, second])) == "2 problems\nf:1:1: a\nf:2:1: b"
    assert str(ScenarioError([first])) == "f:1:1: a"


def test_every_error_ends_the_command_with_two_but_a_failed_audit_with_three():
    leaves = [
        leaf
        for leaf in vars(errors_module).values()
        if isinstance(leaf, type) and issubclass(leaf, DatahallError)
    ]
    assert {leaf.__name__ for leaf in leaves if leaf.exit_status != 2} == {"AuditError"}
    assert AuditError.exit_status == 3


@pytest.mark.parametrize(
    "error",
    [
        ScenarioError([Problem("a", "f", 1, 1, "k", "h")]),
        UnknownNameError("unknown policy 'x'", "known: y"),
        UnitError("no unit"),
        TraceError("too short"),
    ],
)
def test_errors_travel_between_processes_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_values_that_cannot_be_read_are_value_errors_too():
    assert issubclass(UnitError, ValueError)
    assert issubclass(TraceError, ValueError)
