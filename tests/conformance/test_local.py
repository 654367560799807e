"""The local platform keeps the contract of platforms, on real files and sockets."""

import pytest

from platforms.conformance.test_conformance import test_conformance
from platforms.local.testing import LocalHarness

__all__ = ["test_conformance"]


@pytest.fixture
def mesh_harness() -> LocalHarness:
    return LocalHarness()
