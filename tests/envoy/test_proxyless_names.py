"""Names that nobody has, names that come and names that go, as open channels of grpcio see them; a true Manager."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.manager.testing.facts import document, service, service_key
from istioctl.testing.grpc_site import Site

pytestmark = pytest.mark.envoy

LATE = "xds:///late:9080"
AT_ONCE = 3.0
"""Seconds. gRPC's own patience with what it has never seen is 15."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A Manager, a client, and a server of a service that is not registered yet."""
    found = Site(tmp_path)
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.proxyless("client")
        yield found


async def test_a_name_that_nobody_has_fails_at_once_and_works_as_soon_as_it_exists(site: Site) -> None:
    """In every form. One channel throughout; a call that waits for the name is answered by it; nothing is refused."""
    async with asyncio.timeout(AT_ONCE):
        for other in ("late.default:9080", "late.default.svc.cluster.local:9080", "late", "late:0"):
            assert list((await site.ask("client", f"xds:///{other}")).failures) != []
        (failure,) = (await site.ask("client", LATE)).failures
    assert failure.startswith("UNAVAILABLE"), failure
    assert "nobody at outbound|9080||late.default.svc.cluster.local" in failure
    patient = asyncio.create_task(site.ask("client", LATE, wait=True, timeout=20.0))
    await site.proxyless("v1", serves="late")
    assert not patient.done()
    await site.tell(service("late", "9080/grpc"))
    async with asyncio.timeout(AT_ONCE):
        assert (await patient).answers == {"v1 nobody": 1}
        assert (await site.ask("client", LATE, count=10)).failures == {}
    assert site.refused() == []


async def test_a_service_that_goes_and_comes_back_is_followed_by_open_channels(site: Site) -> None:
    """Calls fail at once while it is gone, three times over."""
    await site.proxyless("v1", serves="late")
    for _ in range(3):
        await site.tell(service("late", "9080/grpc"))
        await site.until("client", {"v1 nobody"}, LATE)
        site.platform.registry.remove(service_key("late"))
        async with asyncio.timeout(AT_ONCE):
            while not (await site.ask("client", LATE)).failures:
                pass
    assert site.refused() == []


async def test_a_route_to_a_subset_that_is_not_there_fails_at_once_and_alone(site: Site) -> None:
    """Other routes of the same service go on, and the subset is used as soon as there is one."""
    await site.proxyless("v1", serves="late")
    to = {"route": [{"destination": {"host": "late", "subset": "v1"}}]}
    routes = [{"match": [{"headers": {"x-to": {"exact": "v1"}}}], **to}, {"route": [{"destination": {"host": "late"}}]}]
    await site.tell(
        service("late", "9080/grpc"), document("VirtualService", "late", {"hosts": ["late"], "http": routes})
    )
    await site.until("client", {"v1 nobody"}, LATE)
    async with asyncio.timeout(AT_ONCE):
        assert list((await site.ask("client", LATE, metadata={"x-to": "v1"})).failures) != []
        assert (await site.ask("client", LATE)).failures == {}
    subset = {"name": "v1", "labels": {"version": "v1"}}
    await site.tell(document("DestinationRule", "late", {"host": "late", "subsets": [subset]}))
    await site.until("client", {"v1 nobody"}, LATE, metadata={"x-to": "v1"})
    assert site.refused() == []


async def test_tls_that_grpc_cannot_speak_fails_calls_and_never_makes_them_plain(site: Site) -> None:
    """From the moment when a call has failed, until the rule is taken back."""
    await site.proxyless("v1", serves="late")
    plain, tls = ({"host": "late", "trafficPolicy": {"tls": {"mode": mode}}} for mode in ("DISABLE", "SIMPLE"))
    await site.tell(service("late", "9080/grpc"), document("DestinationRule", "late", plain))
    await site.until("client", {"v1 nobody"}, LATE)
    await site.tell(document("DestinationRule", "late", tls))
    async with asyncio.timeout(AT_ONCE):
        while not (await site.ask("client", LATE)).failures:
            pass
    assert (await site.ask("client", LATE, seconds=0.5)).answers == {}
    assert (await site.ask("client", LATE, seconds=0.5, fresh=True)).answers == {}
    await site.tell(document("DestinationRule", "late", plain))
    await site.until("client", {"v1 nobody"}, LATE)
    assert site.refused() == []
