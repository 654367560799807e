"""gRPC applications without a proxy and their Managers: several of them, none yet, none any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from core.manager.testing.facts import service
from istioctl.testing.grpc_site import SPIFFE, VERSIONS, Site, mutual_tls, rule, to

pytestmark = pytest.mark.envoy

BOTH = {"v1 nobody", "v2 nobody"}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Site]:
    """Two Managers, a client, and two servers."""
    found = Site(tmp_path, managers=2)
    async with found.stack:
        for number in (0, 1):
            await found.start_manager(number)
            found.stack.push_async_callback(found.stop_manager, number)
        await found.tell(service("reviews", "9080/grpc"))
        for name, serves in (("client", ""), ("v1", "reviews"), ("v2", "reviews")):
            await found.proxyless(name, serves=serves)
        yield found


def served(site: Site, number: int) -> set[str]:
    """The workloads that have a stream to this Manager."""
    manager = site.running.get(number)
    return {each.workload.name for each in manager.proxies().status()} if manager else set()


async def test_when_a_manager_is_gone_its_clients_and_servers_move_to_the_other(pair: Site) -> None:
    """News comes from whoever is left, in both directions, and no call fails; a workload is not with both."""
    await pair.until("client", BOTH)
    steady = asyncio.create_task(pair.ask("client", seconds=4.0))
    for gone, chosen in ((0, "v1"), (1, "v2")):
        await pair.stop_manager(gone)
        await pair.tell(VERSIONS, rule({"route": [to(chosen)]}))
        await pair.until("client", {f"{chosen} nobody"})
        async with asyncio.timeout(10.0):
            while served(pair, 1 - gone) != {"client", "v1", "v2"}:
                await pair.ask("client")
        await pair.start_manager(gone)
        assert not served(pair, gone)
    assert (await steady).failures == {}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """One Manager, and the service `reviews`."""
    found = Site(tmp_path)
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.tell(service("reviews", "9080/grpc"))
        yield found


async def restarted(site: Site, name: str) -> None:
    """The application is killed, and there again."""
    with contextlib.suppress(msgspec.DecodeError, ConnectionError):
        await site.ask(name, target="", die=True)
    while True:
        with contextlib.suppress(msgspec.DecodeError, ConnectionError):
            await site.ask(name, target="")
            return


async def test_applications_that_start_without_a_manager_wait_for_it(site: Site) -> None:
    """A server and a client that start anew while there is none: neither gives up, and calls that wait are answered."""
    await site.proxyless("client")
    await site.proxyless("v1", serves="reviews")
    await site.until("client", {"v1 nobody"})
    await site.stop_manager()
    for name in ("client", "v1"):
        await restarted(site, name)
    patient = asyncio.create_task(site.ask("client", wait=True, timeout=25.0))
    refused = await site.ask("client", f"{site.addresses['v1']}:9080", timeout=1.0)
    assert list(refused.answers) == []
    await site.start_manager()
    assert (await patient).answers == {"v1 nobody": 1}


async def test_an_expired_certificate_is_refused_until_there_is_a_new_one(site: Site) -> None:
    """Of a client whose agent found no Manager for too long; with one, calls go on by themselves."""
    await site.tell(mutual_tls("STRICT"))
    await site.proxyless("v1", serves="reviews")
    site.lifetime = 5
    await site.proxyless("hasty")
    me = f"v1 {SPIFFE.format('hasty')}"
    await site.until("hasty", {me})
    await site.stop_manager()
    async with asyncio.timeout(15.0):
        while not (await site.ask("hasty", fresh=True, timeout=2.0)).failures:
            pass
    await site.start_manager()
    await site.until("hasty", {me}, fresh=True, count=1)
