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


async def rehearse(http: httpx.AsyncClient, *orders: object) -> list[dict[str, Any]]:
    response = await http.post(PATH, params={"dryRun": "All"}, json={"orders": orders})
    assert response.status_code == 200, response.text
    outcomes: list[dict[str, Any]] = response.json()["outcomes"]
    return outcomes


async def test_a_rehearsal_tells_everything_and_writes_nothing(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """Every order is tried, with the version that is stored, and what is refused says why; the store stays as it is."""
    await send(http, put(rule, "a"), put(rule, "b"), put(rule, "c"))
    before = await world.store.snapshot()
    orders = (
        put(rule, "a", host="ratings", version="1"),
        put(rule, "b", version="2"),
        remove("c", version="3"),
        put(rule, "d"),
        put(rule, "d"),
        put(rule, "a", version="1"),
        put(rule, "b", version="7"),
        remove("nobody"),
        {"object": rule(name="x", namespace="default") | {"spec": {"hosts": 5}}},
        {"object": rule(name="x") | {"kind": "Nope"}},
    )
    outcomes = await rehearse(http, *orders)
    done, refused = outcomes[:4], outcomes[4:]
    assert [each["outcome"] for each in done] == ["configured", "unchanged", "deleted", "created"]
    assert [each.get("resourceVersion", "") for each in done] == ["1", "2", "", ""]
    assert {each["outcome"] for each in refused} == {"refused"}
    assert [each["failure"]["code"] for each in refused] == [409, 409, 409, 404, 422, 400]
    assert refused[4]["failure"]["details"]["causes"][0]["field"].startswith("spec.hosts")
    assert await world.store.snapshot() == before


async def test_a_rehearsal_foretells_the_transaction(http: httpx.AsyncClient, rule: Rule) -> None:
    """What was rehearsed with `set` and comes again with the versions that were answered is written as foretold."""
    await send(http, put(rule, "a"), put(rule, "b"))
    wanted = {"a": "ratings", "b": "reviews", "c": "reviews"}
    told = await rehearse(http, *(put(rule, name, host=host) | {"verb": "set"} for name, host in wanted.items()))
    versions = [each.get("resourceVersion", "") for each in told]
    orders = [
        put(rule, name, host=wanted[name], version=version) for name, version in zip(wanted, versions, strict=True)
    ]
    done = (await send(http, *orders)).json()["outcomes"]
    assert (
        [each["outcome"] for each in told]
        == [each["outcome"] for each in done]
        == ["configured", "unchanged", "created"]
    )


async def test_a_set_writes_over_anything_but_another_version(http: httpx.AsyncClient, rule: Rule) -> None:
    """Without a version it creates or replaces; with one it is a put."""
    for host, said in (("a", "created"), ("b", "configured"), ("b", "unchanged")):
        (outcome,) = (await send(http, put(rule, "a", host=host) | {"verb": "set"})).json()["outcomes"]
        assert outcome["outcome"] == said
    assert (await send(http, put(rule, "a", version="77") | {"verb": "set"})).status_code == 409
