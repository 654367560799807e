"""Tables, pages and watches."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from core.manager.api import watching
from core.manager.api.failures import Failure
from core.manager.api.pages import Pages
from core.manager.api.tables import age
from core.model.config import ConfigKey, Document, Snapshot

GROUP = "/apis/networking.istio.io/v1"
RULES = f"{GROUP}/namespaces/default/virtualservices"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (10_799, "179m"),
     (10_800, "3h"), (12_000, "3h20m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"),
     (691_200, "8d"), (63_072_000, "2y")],
)  # fmt: skip
def test_ages_are_said_as_kubectl_says_them(seconds: float, said: str) -> None:
    """The same breaks between the units."""
    assert age(seconds) == said


def snapshot(count: int, revision: str = "7") -> Snapshot:
    return Snapshot(tuple(Document(key=ConfigKey("g", "K", "n", f"d{i:02}")) for i in range(count)), revision)


def test_pages_go_through_one_moment() -> None:
    """However the store has changed meanwhile."""
    pages = Pages()
    page = pages.first(snapshot(5), 2, about="all")
    names = [d.key.name for d in page.documents]
    while page.token:
        found, page = pages.next(page.token, 2, about="all")
        assert found.revision == "7"
        names += [d.key.name for d in page.documents]
    assert names == ["d00", "d01", "d02", "d03", "d04"]


def test_a_page_too_late_is_410_and_another_lists_is_400() -> None:
    """A client learns that it has to begin again; a token is good for its list only."""
    now = [0.0]
    pages = Pages(clock=lambda: now[0])
    token = pages.first(snapshot(5), 2, about="all").token
    for about, code, later in (("other", 400, 0.0), ("all", 410, 1000.0)):
        now[0] = later
        with pytest.raises(Failure) as caught:
            pages.next(token, 2, about=about)
        assert caught.value.status.code == code


async def events(http: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    """Of a watch that lasts a second."""
    answer = await http.get(RULES, params={"watch": "true", "timeoutSeconds": "1", **params})
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_watch_begins_with_what_is_there_or_where_it_is_told(http: httpx.AsyncClient, rule: Any) -> None:
    """Without a version: ADDED for everything; with one: what came after it, each change once."""
    await http.post(RULES, json=rule())
    await http.post(RULES, json=rule(name="other", labels={"a": "b"}))
    await http.delete(f"{RULES}/other")
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in await events(http)] == [("ADDED", "reviews")]
    since = await events(http, resourceVersion="1")
    assert [(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in since] == [
        ("ADDED", "2"),
        ("DELETED", "3"),
    ]


async def test_what_a_selector_lets_go_of_is_deleted(http: httpx.AsyncClient, rule: Any) -> None:
    """For that watcher; and what it begins to select is added."""
    await http.post(RULES, json=rule())
    rv = (await http.get(RULES)).json()["metadata"]["resourceVersion"]
    patch = {"content-type": "application/merge-patch+json"}
    await http.patch(f"{RULES}/reviews", json={"metadata": {"labels": {"a": "b"}}}, headers=patch)
    await http.patch(f"{RULES}/reviews", json={"metadata": {"labels": None}}, headers=patch)
    assert [e["type"] for e in await events(http, resourceVersion=rv, labelSelector="a=b")] == ["ADDED", "DELETED"]


async def test_bookmarks_come_to_whoever_wants_them(
    http: httpx.AsyncClient, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the version of the whole store, and one for the end of what was there."""
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 0.2)
    await http.post(f"{GROUP}/namespaces/elsewhere/virtualservices", json=rule())
    said = await events(http, allowWatchBookmarks="true", sendInitialEvents="true")
    assert {e["type"] for e in said} == {"BOOKMARK"}
    assert said[0]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert said[-1]["object"]["metadata"]["resourceVersion"] == "1"
    assert {e["type"] for e in await events(http)} == set()


async def test_a_version_too_old_is_gone(world: Any, http: httpx.AsyncClient, rule: Any) -> None:
    """410 with a Status, also for a version that never was."""
    for name in ("a", "b"):
        await http.post(RULES, json=rule(name=name))
    world.store.forget()
    for since in ("1", "999", "0x"):
        answer = await http.get(RULES, params={"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"})
        assert (answer.status_code, answer.json()["reason"]) == (410, "Expired"), since
    assert (await http.get(RULES, params={"watch": "1", "resourceVersion": "2", "timeoutSeconds": "1"})).text == ""


async def test_tables_are_for_those_who_ask(http: httpx.AsyncClient, rule: Any) -> None:
    """Columns of the kind, and of the object what was asked for."""
    await http.post(RULES, json=rule())
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    table = (await http.get(RULES, headers=accept)).json()
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Gateways", "Hosts", "Age"]
    assert table["rows"][0]["cells"][:3] == ["reviews", "", '["reviews"]']
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = (await http.get(f"{RULES}/reviews?includeObject=Object", headers=accept)).json()
    assert whole["rows"][0]["object"]["spec"]["hosts"] == ["reviews"]


async def test_many_watchers_all_hear(http: httpx.AsyncClient, rule: Any) -> None:
    """Each gets every change, in order."""
    watchers = [asyncio.create_task(events(http, resourceVersion="0")) for _ in range(5)]
    await asyncio.sleep(0)
    for name in ("a", "b", "c"):
        await http.post(RULES, json=rule(name=name))
    for said in await asyncio.gather(*watchers):
        assert [e["object"]["metadata"]["name"] for e in said] == ["a", "b", "c"]


async def test_bookmarks_come_while_others_are_busy(
    world: Any, http: httpx.AsyncClient, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of changes that do not concern the watcher does not keep it at a version that will be forgotten."""
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 0.1)
    watching_ = asyncio.create_task(events(http, allowWatchBookmarks="true", resourceVersion="0"))
    place = f"{GROUP}/namespaces/elsewhere/virtualservices"
    number = 0
    while not watching_.done():
        number += 1
        await http.post(place, json=rule(name=f"r{number}"))
        await asyncio.sleep(0)
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in await watching_]
    assert {e["type"] for e in await watching_} == {"BOOKMARK"}
    assert len(versions) > 3
    assert versions == sorted(set(versions))
    assert versions[-1] > number // 2


async def test_a_collection_is_deleted_although_others_write(
    world: Any, http: httpx.AsyncClient, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands at once; one that changes meanwhile goes, too, and what is not selected stays."""
    orders = [{"object": rule(name=f"r{n}", namespace="default", labels={"go": "yes"})} for n in range(2000)]
    await http.post("/v1/transactions", json={"orders": [*orders, {"object": rule(namespace="default")}]})
    commit = world.store.commit
    between = [{"metadata": {"annotations": {"a": str(n)}}} for n in range(2)]

    async def disturbed(writes: Any, *, author: str = "") -> Any:
        if len(writes) > 1 and between:
            headers = {"content-type": "application/merge-patch+json"}
            await http.patch(f"{RULES}/r7", json=between.pop(), headers=headers)
        return await commit(writes, author=author)

    monkeypatch.setattr(world.store, "commit", disturbed)
    assert (await http.delete(RULES, params={"labelSelector": "go=yes"})).status_code == 200
    assert between == []
    assert [document.key.name for document in await world.store.list()] == ["reviews"]


async def test_pages_show_one_moment_while_others_write(http: httpx.AsyncClient, rule: Any) -> None:
    """What is created, changed and deleted between two pages is in none of them; the version is that of the first."""
    await http.post("/v1/transactions", json={"orders": [{"object": rule(name=f"r{n}")} for n in range(6)]})
    seen, token, versions = [], "", set()
    for step in range(3):
        page = (await http.get(RULES, params={"limit": 2, "continue": token})).json()
        seen += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        await http.post(RULES, json=rule(name=f"r0{step}"))
        await http.delete(f"{RULES}/r{5 - step}")
    assert seen == [f"r{n}" for n in range(6)]
    assert (len(versions), token) == (1, "")
