"""gRPC applications without a proxy: grpcio's own xDS client and server, as processes with agents; a true Manager."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.manager.testing.facts import document, service, service_key, workload_key
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.service import InstanceKey
from core.model.workload import Proxyless, Workload
from istioctl.testing.grpc_site import NETWORK, PORT, SPIFFE, SUBSETS, VERSIONS, Site, answered, mutual_tls, rule, to

pytestmark = pytest.mark.envoy


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A Manager, the service `reviews`, and a client."""
    found = Site(tmp_path)
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.tell(service("reviews", "9080/grpc"), service("ratings", "9080/grpc"))
        await found.proxyless("client")
        yield found


@pytest.fixture
async def two(site: Site) -> Site:
    """The same with two versions of `reviews`."""
    await site.proxyless("v1", serves="reviews")
    await site.proxyless("v2", serves="reviews")
    return site


async def test_calls_are_spread_over_all_instances_under_every_name(two: Site) -> None:
    for host in ("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"):
        await two.until("client", {"v1 nobody", "v2 nobody"}, f"xds:///{host}:9080")


async def test_weights_headers_and_faults_are_followed_while_calls_go_on(two: Site) -> None:
    """Rules take effect in a running client, and no call fails meanwhile but by the fault that was asked for."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=3.0))
    await two.tell(VERSIONS, rule({"route": [to("v1")]}))
    await two.until("client", {"v1 nobody"})
    chosen = {"match": [{"headers": {"x-to": {"exact": "v2"}}}], "route": [to("v2")]}
    await two.tell(rule(chosen, {"route": [to("v1", 80), to("v2", 20)]}))
    outcome = await two.until("client", {"v1 nobody", "v2 nobody"}, count=400)
    assert 40 <= outcome.answers["v2 nobody"] <= 130
    await two.until("client", {"v2 nobody"}, metadata={"x-to": "v2"})
    assert (await steady).failures == {}
    abort = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    await two.tell(rule({**chosen, "fault": abort}, {"route": [to("v1")]}))
    await two.until("client", {"v1 nobody"})
    failed = await two.ask("client", count=5, metadata={"x-to": "v2"})
    assert failed.failures == {"UNAVAILABLE: Fault injected": 5}


async def test_a_server_lives_on_that_answers_with_an_error_alone(two: Site) -> None:
    """By a status and no headers before it, also where it knows no such method; it is the same process afterwards."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    outcome = await two.ask("client", count=10, metadata={"x-answer-status": "NOT_FOUND"})
    assert outcome.failures == {"NOT_FOUND: as asked": 10}
    assert (await two.ask("client", count=10)).failures == {}


async def test_a_timeout_is_the_longest_that_a_call_may_take(two: Site) -> None:
    """One that is answered within it never fails; one that is not ends within a second of it."""
    await two.tell(VERSIONS, rule({"timeout": "0.4s", "route": [to("v1")]}))
    await two.until("client", {"v1 nobody"})
    assert (await two.ask("client", count=20, metadata={"x-answer-delay": "0.01"})).failures == {}
    started = time.monotonic()
    outcome = await two.ask("client", metadata={"x-answer-delay": "5"})
    assert list(outcome.failures) == ["DEADLINE_EXCEEDED: Deadline Exceeded"]
    assert 0.4 <= time.monotonic() - started < 3


async def test_an_instance_that_goes_gets_no_more_calls(two: Site) -> None:
    """And no call fails of those that are made meanwhile."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=1.0))
    two.platform.registry.remove(InstanceKey(service_key("reviews"), "v2"))
    await two.until("client", {"v1 nobody"})
    assert (await steady).failures == {}


async def test_a_manager_that_restarts_costs_no_call(two: Site) -> None:
    """Calls go on without it, and what changed meanwhile arrives when it is back."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=4.0))
    await two.stop_manager()
    assert (await two.ask("client", count=20)).failures == {}
    await two.tell(VERSIONS, rule({"route": [to("v2")]}))
    await two.start_manager()
    await two.until("client", {"v2 nobody"})
    assert (await steady).failures == {}


async def test_a_service_that_goes_fails_its_calls_at_once(two: Site) -> None:
    await two.until("client", {"v1 nobody", "v2 nobody"})
    two.platform.registry.remove(service_key("reviews"))
    async with asyncio.timeout(5.0):
        while not (outcome := await two.ask("client", timeout=3.0)).failures:
            pass
    assert all(failure.startswith("UNAVAILABLE") for failure in outcome.failures)


async def test_strict_mutual_tls_shows_both_sides_who_they_are(two: Site) -> None:
    """The server sees the client's identity; a stranger without a certificate is refused."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    await two.tell(mutual_tls("STRICT"))
    me = SPIFFE.format("client")
    await two.until("client", {f"v1 {me}", f"v2 {me}"})
    plain = f"{NETWORK}.2:{PORT}"
    assert list((await two.ask("client", plain, timeout=3.0)).answers) == []
    await two.tell(mutual_tls("DISABLE"))
    await two.until("client", {"v1 nobody", "v2 nobody"})


async def test_a_server_with_another_identity_is_refused(site: Site) -> None:
    """The client asks for the identity that the registry knows."""
    await site.tell(mutual_tls("STRICT"))
    await site.proxyless("v1", serves="reviews")
    me = SPIFFE.format("client")
    await site.until("client", {f"v1 {me}"})
    impostor = Workload(key=workload_key("v1"), address=f"{NETWORK}.2", labels=Labels.of({"version": "v1"}),
                        capture=Proxyless())  # fmt: skip
    await site.tell(site.instance("reviews", impostor, proxyless=True, identity="somebody-else"))
    async with asyncio.timeout(10.0):
        while not (outcome := await site.ask("client", timeout=2.0)).failures:
            pass
    (failure,) = outcome.failures
    assert failure.startswith("UNAVAILABLE"), failure


async def test_a_caller_of_another_trust_domain_is_refused(site: Site) -> None:
    """Though the same roots vouch for it: the client shows a certificate that the Manager would not have signed."""
    await site.tell(mutual_tls("STRICT"))
    await site.proxyless("v1", serves="reviews")
    await site.until("client", {f"v1 {SPIFFE.format('client')}"})
    site.disguise("client", SpiffeId.of("elsewhere.local", namespace="default", service_account="client"))
    async with asyncio.timeout(10.0):
        while not (outcome := await site.ask("client", timeout=2.0, fresh=True)).failures:
            pass
    assert list(outcome.failures) == ["PERMISSION_DENIED: Unauthorized RPC rejected"]


@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
async def test_a_client_without_a_proxy_calls_a_sidecar(site: Site, mode: str) -> None:
    """By mutual TLS in either mode; Envoy tells the application nothing of it, but lets nobody else in under STRICT."""
    await site.tell(mutual_tls(mode))
    await site.sidecar("envoy", serves="reviews")
    await site.until("client", {"envoy nobody"})
    plain = await site.ask("client", f"{NETWORK}.2:{PORT}", timeout=3.0)
    assert bool(plain.failures) is (mode == "STRICT")


async def test_a_sidecar_calls_a_server_without_a_proxy(site: Site) -> None:
    """Plain where that is allowed, and by mutual TLS under STRICT: the server sees the identity of the sidecar."""
    await site.proxyless("v1", serves="reviews")
    await site.sidecar("envoy", serves="ratings")
    proxy = f"http://{NETWORK}.3:15007"
    for mode, caller in (("PERMISSIVE", "nobody"), ("STRICT", SPIFFE.format("envoy"))):
        await site.tell(mutual_tls(mode))
        await answered(proxy, "reviews:9080", f"v1 {caller}")


async def test_a_new_certificate_is_shown_without_a_restart(site: Site) -> None:
    """Calls by new connections go on beyond the life of the first certificates, of both sides."""
    await site.tell(mutual_tls("STRICT"))
    site.lifetime = 10
    await site.proxyless("v1", serves="reviews")
    hasty = await site.proxyless("hasty")
    me = SPIFFE.format("hasty")
    await site.until("hasty", {f"v1 {me}"})
    first = hasty.state.certificate
    outcome = await site.ask("hasty", seconds=12.0, fresh=True)
    assert first is not None
    assert hasty.state.certificate is not None
    assert first.serial != hasty.state.certificate.serial
    assert set(outcome.answers) == {f"v1 {me}"}
    assert outcome.failures == {}


async def test_everything_sent_was_taken(two: Site) -> None:
    """gRPC refuses nothing of what rules become that it cannot do; the document tells what that is."""
    odd = rule(
        {"match": [{"queryParams": {"a": {"exact": "b"}}}], "route": [to("v2")]},
        {"match": [{"method": {"exact": "GET"}}], "route": [to("v2")]},
        {"match": [{"authority": {"exact": "reviews:9080"}}], "route": [to("v2")]},
        {"match": [{"uri": {"prefix": "/redirect"}}], "redirect": {"uri": "/else"}},
        {"match": [{"headers": {"x-to": {"exact": "v2"}}, "withoutHeaders": {"x-not": {"exact": "a"}}}],
         "route": [to("v2")]},
        {"match": [{"uri": {"regex": "/tests[.].*"}, "method": {"exact": "POST"}}],
         "rewrite": {"uri": "/x"}, "headers": {"request": {"set": {"a": "b"}}},
         "mirror": {"host": "reviews", "subset": "v2"}, "timeout": "5s",
         "retries": {"attempts": 3, "retryOn": "unavailable,5xx", "perTryTimeout": "1s"},
         "corsPolicy": {"allowOrigins": [{"exact": "x"}]}, "route": [to("v1")]},
    )  # fmt: skip
    hashed = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    limits = {"connectionPool": {"http": {"http2MaxRequests": 100}}, "outlierDetection": {"consecutive5xxErrors": 3}}
    await two.tell(VERSIONS, odd)
    await two.until("client", {"v1 nobody"})
    await two.until("client", {"v2 nobody"}, metadata={"x-to": "v2"})
    await two.until("client", {"v1 nobody"}, metadata={"x-to": "v2", "x-not": "a"})
    for policy in (hashed, limits, {"loadBalancer": {"simple": "RANDOM"}}):
        spec = {"host": "reviews", "trafficPolicy": policy, "subsets": SUBSETS}
        await two.tell(document("DestinationRule", "reviews", spec))
        await two.until("client", {"v1 nobody"}, metadata={"x-user": "me"})
    assert two.refused() == []
    found = [each for each in two.manager.manager().diagnostics(odd.key) if each.code == "MSH0020"]
    assert {each.origin.path.rpartition(".")[2] for each in found if each.origin} == {
        "queryParams", "match[0]", "authority", "http[3]", "rewrite", "headers", "mirrors", "perTryTimeout", "retryOn",
    }  # fmt: skip
