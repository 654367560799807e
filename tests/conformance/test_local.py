"""The local platform keeps the contract of platforms, on real files and sockets, in both captures."""

import pytest

from platforms.conformance.test_conformance import test_conformance
from platforms.local.settings import CaptureMode
from platforms.local.testing import LocalHarness

__all__ = ["test_conformance"]


@pytest.fixture(params=["none", "redirect"])
def mesh_harness(request: pytest.FixtureRequest) -> LocalHarness:
    capture: CaptureMode = "redirect" if request.param == "redirect" else "none"
    return LocalHarness(capture)
