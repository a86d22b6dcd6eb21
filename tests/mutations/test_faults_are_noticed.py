"""A few faults of the step model, in a copy of the package: the tests must notice most of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

#: Share of faults that must be noticed. What lives is mostly of no consequence: a constant of a case
#: that cannot be, a doubled slack.
LEAST_NOTICED = 0.75


@pytest.mark.slow
def test_most_faults_are_noticed():
    path = Path(__file__).with_name("mutate.py")
    spec = importlib.util.spec_from_file_location("mutate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module
    try:
        spec.loader.exec_module(module)
        tried, lived = module.run(most=14, seed=7)
    finally:
        del sys.modules["mutate"]
    told = "\n".join(f"{fault.module}:{fault.line}: {fault.told}" for fault in lived)
    assert 1 - len(lived) / tried >= LEAST_NOTICED, told
