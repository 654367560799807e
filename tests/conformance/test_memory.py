"""The in-memory platform keeps the contract of platforms."""

import pytest

from platforms.conformance.test_conformance import test_conformance
from platforms.memory.testing import MemoryHarness

__all__ = ["test_conformance"]


@pytest.fixture
def mesh_harness() -> MemoryHarness:
    return MemoryHarness()
