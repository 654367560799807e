"""gRPC applications without a proxy, spread over localities: real channels call the near ones, or parts of all."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from msgspec.structs import replace

from core.manager.testing.facts import document, service, service_key, workload_key
from core.model.config import Document
from core.model.labels import Labels
from core.model.service import Instance, InstanceKey, Locality
from core.model.workload import Proxyless, Workload
from istioctl.testing.chance import bounds
from istioctl.testing.grpc_site import NETWORK, Site

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

PLACES = {"near": "eu/a/1", "beside": "eu/b", "far": "us/a"}
EVERYBODY = {f"{name} nobody" for name in PLACES}


def policy(**blocks: object) -> Document:
    return document("DestinationRule", "reviews", {"host": "reviews", "trafficPolicy": blocks})


def setting(**fields: object) -> Mapping[str, object]:
    return {"localityLbSetting": fields}


WATCHED = policy(outlierDetection={})
NO_RULE = policy(loadBalancer=setting(enabled=False))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A client in eu/a/1, one in us/a, and a server in each of three places."""
    site = Site(tmp_path_factory.mktemp("site"))
    async with site.stack:
        await site.start_manager()
        site.stack.push_async_callback(site.stop_manager)
        await site.tell(service("reviews", "9080/grpc"))
        await site.proxyless("client", place="eu/a/1")
        await site.proxyless("abroad", place="us/a")
        for name, place in PLACES.items():
            await site.proxyless(name, serves="reviews", place=place)
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(started: Site) -> AsyncIterator[Site]:
    """Everybody is there, and no rule makes a difference between them."""
    await started.until("client", EVERYBODY)
    yield started
    assert started.refused() == []
    await started.tell(NO_RULE)


async def test_each_client_calls_the_servers_near_it(site: Site) -> None:
    """Outlier detection is what turns it on, as for proxies; both clients keep their channels, and no call fails."""
    steady = asyncio.create_task(site.ask("client", seconds=1.0))
    await site.tell(WATCHED)
    await site.until("client", {"near nobody"})
    await site.until("abroad", {"far nobody"})
    await site.tell(NO_RULE)
    await site.until("client", EVERYBODY)
    assert (await steady).failures == {}


async def test_when_the_near_ones_go_the_next_step_in_and_no_call_fails(site: Site) -> None:
    """By what the Manager knows: first the same region, then any; and back again when they return."""
    await site.tell(WATCHED)
    await site.until("client", {"near nobody"})
    steady = asyncio.create_task(site.ask("client", seconds=1.0))
    registry = site.platform.registry
    gone = [instance(site, name) for name in ("near", "beside")]
    for name, left in (("near", "beside nobody"), ("beside", "far nobody")):
        registry.remove(InstanceKey(service_key("reviews"), name))
        await site.until("client", {left})
    await site.tell(*gone)
    await site.until("client", {"near nobody"})
    assert (await steady).failures == {}


async def test_when_the_near_one_cannot_be_reached_gRPC_goes_on_to_the_next_by_itself(site: Site) -> None:
    """The Manager thinks that it is well; nobody listens there."""
    await site.tell(WATCHED, service("shaky", "9080/grpc"), shaky(site, "dead", 250, "eu/a/1"))
    others = (instance(site, name) for name in ("beside", "far"))
    await site.tell(*(replace(each, key=InstanceKey(service_key("shaky"), each.key.id)) for each in others))
    await site.tell(document("DestinationRule", "shaky", {"host": "shaky", "trafficPolicy": {"outlierDetection": {}}}))
    await site.until("client", {"beside nobody"}, "xds:///shaky:9080", timeout=5.0)


async def test_calls_are_shared_out_by_rule(site: Site) -> None:
    """Places that are not named get nothing, and other clients have another share."""
    to_places = [{"from": "eu/*", "to": {"eu/a/1": 80, "us/*": 20}}, {"from": "us/*", "to": {"eu/b": 100}}]
    await site.tell(policy(loadBalancer=setting(distribute=to_places)))
    await site.until("abroad", {"beside nobody"})
    await site.until("client", {"near nobody", "far nobody"}, count=60)
    answers = (await site.ask("client", count=400)).answers
    low, high = bounds(400, 0.2)
    assert low <= answers["far nobody"] <= high, answers


async def test_without_a_rule_localities_weigh_as_much_as_their_endpoints(site: Site) -> None:
    """Else gRPC would look at places before it looks at how much each of them can take."""
    usual = instance(site, "far")
    await site.tell(replace(usual, weight=6))
    low, high = bounds(400, 0.75)
    await site.until("client", EVERYBODY)
    answers: dict[str, int] = {}
    for _ in range(5):
        if low <= answers.get("far nobody", 0) <= high:
            break
        answers = (await site.ask("client", count=400)).answers
    assert low <= answers["far nobody"] <= high, answers
    await site.tell(usual)


def instance(site: Site, name: str) -> Instance:
    """Of the service `reviews`, as it is registered."""
    found = site.platform.registry.get(InstanceKey(service_key("reviews"), name))
    assert isinstance(found, Instance)
    return found


def shaky(site: Site, name: str, number: int, place: str) -> Instance:
    """An instance of a service where nobody listens."""
    nobody = Workload(
        key=workload_key(name),
        address=f"{NETWORK}.{number}",
        labels=Labels(),
        locality=Locality.parse(place),
        capture=Proxyless(ports=(9080,)),
    )
    return site.instance("shaky", nobody, proxyless=True)
