"""A rule that grpcio refuses, among others: it alone has no effect, and its document is told why.

Our validation passes nothing that grpcio is known to refuse, so the encoder is made to write it for marked rules.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from envoy.config.route.v3 import route_components_pb2

from core.envoy import proxyless, wire
from core.manager.refusals import REFUSED
from core.manager.testing.facts import document, service
from core.model.config import Document
from core.view.route import ForwardTo, Route
from istioctl.testing.grpc_site import Site

pytestmark = pytest.mark.envoy

MARK = 77
"""A timeout, in seconds."""
NAMES = ("reviews", "ratings")


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route with that timeout becomes one that matches by nothing, which gRPC does not take."""
    encode = proxyless.encode_route

    def bad_route(route: Route) -> bytes:
        if not (isinstance(route.action, ForwardTo) and route.action.timeout == MARK * 1000):
            return encode(route)
        nothing = route_components_pb2.Route(match=route_components_pb2.RouteMatch(), route={})
        return wire.field(route_components_pb2.VirtualHost.ROUTES_FIELD_NUMBER, nothing.SerializeToString())

    monkeypatch.setattr(proxyless, "encode_route", bad_route)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Two services with an instance each, and a client."""
    found = Site(tmp_path)
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.tell(*(service(name, "9080/grpc") for name in NAMES))
        for name in NAMES:
            await found.proxyless(name, serves=name)
        await found.proxyless("client")
        yield found


def ruled(name: str, *, status: str, seconds: int) -> Document:
    """Calls with the header x-fail fail with `status`."""
    abort = {"abort": {"grpcStatus": status, "percentage": {"value": 100}}}
    route = {"route": [{"destination": {"host": name}}], "timeout": f"{seconds}s"}
    failing = {"match": [{"headers": {"x-fail": {"exact": "yes"}}}], "fault": abort}
    return document("VirtualService", name, {"hosts": [name], "http": [{**route, **failing}, route]})


async def outcomes(site: Site) -> Iterable[str]:
    asked = (site.ask("client", f"xds:///{name}:9080", metadata={"x-fail": "yes"}) for name in NAMES)
    return [next(iter((*each.failures, *each.answers))).partition(":")[0] for each in await asyncio.gather(*asked)]


async def until(site: Site, *expected: str) -> None:
    found: Iterable[str] = ()
    async with asyncio.timeout(10.0):
        while found != list(expected):
            found = await outcomes(site)


async def test_a_rule_that_is_refused_takes_no_other_one_down(site: Site) -> None:
    """Two rules in one push: the good one is in force, the bad one as it was before, until it is mended."""
    await site.tell(*(ruled(name, status="ABORTED", seconds=5) for name in NAMES))
    await until(site, "ABORTED", "ABORTED")
    bad = ruled("ratings", status="NOT_FOUND", seconds=MARK)
    await site.tell(bad, ruled("reviews", status="NOT_FOUND", seconds=5))
    await until(site, "NOT_FOUND", "ABORTED")
    manager = site.manager.manager()
    async with asyncio.timeout(10.0):
        while [each.code for each in manager.diagnostics(bad.key)] != [REFUSED]:
            await outcomes(site)
    assert (await site.ask("client", "xds:///ratings:9080", count=5)).failures == {}
    await site.tell(ruled("ratings", status="NOT_FOUND", seconds=5))
    await until(site, "NOT_FOUND", "NOT_FOUND")
    assert manager.diagnostics(bad.key) == ()
