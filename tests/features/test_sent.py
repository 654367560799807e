"""What the Manager has for a proxy, by the config API: for clients that tell nothing of themselves."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from core.manager.api.answers import HANDLERS
from core.manager.sent import Sent
from core.manager.testing.facts import Plane, document, instance, service, workload_key
from core.model.workload import Capture, Explicit, Proxyless, Redirected, Workload

KEY = workload_key("client")
CLUSTER = "outbound|9080||reviews.default.svc.cluster.local"
ROUTES = [{"route": [{"destination": {"host": "reviews"}}]}]
RULE = document("VirtualService", "r", {"hosts": ["reviews"], "http": ROUTES})


async def asked(name: str, capture: Capture) -> httpx.Response:
    """Of a Manager to which the proxy of `client` has come."""
    workload = Workload(key=KEY, address="127.16.0.9", capture=capture)
    plane = Plane(
        service("reviews", "9080/grpc", addresses=["10.9.9.9"]),
        instance("reviews", "10.0.0.1", account="a"),
        workload,
        RULE,
    )
    plane.pusher.groups(KEY)
    plane.pusher.settle()
    application = Starlette(routes=Sent(plane.pusher).routes(), exception_handlers=HANDLERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://manager") as client:
        return await client.get("/debug/config_dump", params={"proxyID": name})


def parts(answer: httpx.Response) -> Mapping[str, list[Any]]:
    """What there is of each type."""
    assert answer.status_code == 200
    return {each.pop("@type").rpartition(".")[2]: next(iter(each.values()), []) for each in answer.json()["configs"]}


async def test_it_has_the_form_of_envoy_s_own() -> None:
    """One part for each type, with dynamic resources."""
    found = parts(await asked("client.default", Proxyless()))
    assert [each["cluster"]["name"] for each in found["ClustersConfigDump"]] == [CLUSTER]
    assert {"ClustersConfigDump", "EndpointsConfigDump", "ListenersConfigDump", "RoutesConfigDump"} == set(found)


@pytest.mark.parametrize("capture", [Explicit(), Redirected()])
async def test_everything_that_proxies_are_sent_can_be_shown(capture: Capture) -> None:
    """Of all types there is something."""
    assert all(parts(await asked("client.default", capture)).values())


@pytest.mark.parametrize("name", ["other.default", "client.other", "client", ""])
async def test_who_has_not_come_here_is_not_known(name: str) -> None:
    answer = await asked(name, Proxyless())
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
