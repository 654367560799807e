"""The suite as one pytest test per case. Import it beside a fixture `mesh_harness`, or use the plugin."""

import asyncio
from collections.abc import Callable

import pytest

from platforms.conformance.case import Case, Result, run
from platforms.conformance.cases import CASES
from platforms.conformance.harness import Harness

PROPERTY = "mesh conformance"
"""Under this name a test notes (platform, case, result, reason, seconds) for the plugin's summary."""


@pytest.mark.parametrize("chosen", CASES, ids=lambda chosen: chosen.id)
def test_conformance(chosen: Case, mesh_harness: Harness, record_property: Callable[[str, object], None]) -> None:
    """What the case's sentence says must be true of the platform."""
    outcome = asyncio.run(run(chosen, mesh_harness))
    note = (mesh_harness.name, chosen.id, outcome.result.value, outcome.reason, outcome.seconds)
    record_property(PROPERTY, note)
    if outcome.result is Result.SKIP:
        pytest.skip(outcome.reason)
    assert outcome.result is Result.PASS, f"{chosen.id}: {chosen.sentence}\n{outcome.reason}"
