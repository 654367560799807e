"""Localities begin to matter, and cease to, under load: proxies move to other scopes, and no call fails."""

import asyncio

import pytest

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.caller import send
from istioctl.testing.load import lanes, load
from istioctl.testing.mesh import TestMesh
from istioctl.testing.observed import real

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

NEAR = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {outlierDetection: {}}}
"""
CALL = Call(source=WorkloadKey("default", "sleep-v1"), host="reviews", port=9080, via="virtual")


async def until(mesh: TestMesh, expected: set[str]) -> None:
    """Raises `TimeoutError`."""
    found: set[str] = set()
    async with asyncio.timeout(15):
        while found != expected:
            found = {each.who for each in real([await send(mesh, CALL) for _ in range(20)])}


async def test_no_call_fails_while_localities_begin_to_matter_and_cease_to(live: TestMesh) -> None:
    await live.clear()
    async with load(live, lanes([CALL], rate=200)) as tally:
        for _ in range(3):
            await live.apply(NEAR)
            await until(live, {"reviews-v1"})
            await live.clear()
            await until(live, {"reviews-v1", "reviews-v2", "reviews-v3"})
    assert not tally.failures, tally
    assert tally.total > 20
