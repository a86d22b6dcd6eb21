"""Machines and models that the performance tests share."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture


@pytest.fixture(scope="session")
def catalog():
    return Catalog.shipped()


@pytest.fixture(scope="session")
def h100(catalog):
    return catalog.get("gpus", "h100-sxm")


@pytest.fixture(scope="session")
def hgx(catalog):
    return catalog.get("nodes", "hgx-h100-8")


@pytest.fixture(scope="session")
def llama_8b(catalog):
    return Architecture.from_spec(catalog.get("models", "llama-3.1-8b"))


@pytest.fixture(scope="session")
def llama_70b(catalog):
    return Architecture.from_spec(catalog.get("models", "llama-3.1-70b"))
