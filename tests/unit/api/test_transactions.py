"""Several objects in one request: written together, or not at all."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.model.config import ConfigKey

Json = dict[str, object]
Rule = Callable[..., Json]

PATH = "/v1/transactions"
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "a")


def put(rule: Rule, name: str, *, host: str = "reviews", version: str = "") -> Json:
    return {"object": rule(host, name=name, namespace="default", resourceVersion=version)}


def remove(name: str, *, version: str = "") -> Json:
    metadata = {"name": name, "namespace": "default", "resourceVersion": version}
    named = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata}
    return {"verb": "remove", "object": named}


async def send(http: httpx.AsyncClient, *orders: object) -> httpx.Response:
    return await http.post(PATH, json={"orders": orders})


async def test_orders_are_carried_out_together(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """Created, changed, unchanged and removed, with the version of each; one commit for all of them."""
    await send(http, put(rule, "a"), put(rule, "b"), put(rule, "c"))
    orders = (
        put(rule, "a", host="ratings", version="1"),
        put(rule, "b", version="2"),
        remove("c", version="3"),
        put(rule, "d"),
    )
    outcomes = (await send(http, *orders)).json()["outcomes"]
    assert [each["outcome"] for each in outcomes] == ["configured", "unchanged", "deleted", "created"]
    assert [each["resourceVersion"] for each in outcomes] == ["4", "2", "", "6"]
    assert [document.key.name for document in await world.store.list()] == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("code", "last"),
    [
        (409, lambda rule: put(rule, "a")),
        (409, lambda rule: put(rule, "a", version="7")),
        (409, lambda rule: put(rule, "new", version="7")),
        (409, lambda rule: remove("a", version="7")),
        (404, lambda rule: remove("nobody")),
        (422, lambda rule: put(rule, "UPPER")),
        (422, lambda rule: {"object": rule(name="x", namespace="default") | {"spec": {"hosts": 5}}}),
        (400, lambda rule: {"object": rule(name="x", namespace="default") | {"kind": "Nope"}}),
        (400, lambda rule: {"object": rule(name="")}),
        (400, lambda rule: {"object": 5}),
        (400, lambda rule: {"verb": "bend", "object": rule(name="x")}),
    ],
)
async def test_one_bad_order_stops_all(
    code: int, last: Callable[[Rule], Json], world: Any, http: httpx.AsyncClient, rule: Rule
) -> None:
    """Stale, taken, missing, wrong in itself, or no order at all: nothing is written."""
    await send(http, put(rule, "a"))
    before = await world.store.list()
    response = await send(http, put(rule, "fine"), last(rule))
    assert (response.status_code, response.json()["kind"]) == (code, "Status")
    assert await world.store.list() == before


async def test_what_others_keep_in_an_object_stays(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """The status that a controller wrote, and the owners of fields."""
    await send(http, put(rule, "a"))
    path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/a"
    merge = {"content-type": "application/merge-patch+json"}
    await http.patch(f"{path}/status", json={"status": {"conditions": [{"type": "Mine"}]}}, headers=merge)
    version = (await world.store.get(KEY)).revision
    assert (await send(http, put(rule, "a", host="ratings", version=version))).status_code == 200
    found = (await http.get(path)).json()
    assert {"type": "Mine"} in found["status"]["conditions"]
    assert found["metadata"]["managedFields"]


async def test_a_rehearsal_is_refused_and_not_taken_for_the_real_thing(
    world: Any, http: httpx.AsyncClient, rule: Rule
) -> None:
    """Whoever asks for a dry run gets no write."""
    answered = await http.post(PATH, params={"dryRun": "All"}, json={"orders": [put(rule, "a")]})
    assert answered.status_code == 400
    assert await world.store.list() == ()
