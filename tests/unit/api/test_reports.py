"""Findings that change after a write: watches tell of them, at a version that one can go on from and write upon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from core.diagnostics import Diagnostic, Severity
from core.kinds.networking import virtualservice
from core.manager.api.objects import thing_of
from core.manager.api.selectors import EVERYTHING, Selector, selector
from core.manager.api.target import Target
from core.manager.api.watching import Wanted, Watch
from core.model.config import ConfigKey, Document
from platforms.memory import MemoryConfigStore

Rule = Callable[..., dict[str, object]]

RULES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
TARGET = Target(virtualservice.KIND, "v1", "default")


class Told(NamedTuple):
    """`codes`: of the findings in the status; `accepted`: the condition."""

    type: str
    name: str
    version: int
    codes: tuple[str, ...]
    accepted: str


class Watcher:
    """What one is told, line by line."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def next(self) -> Told:
        async with asyncio.timeout(5):
            event = msgspec.json.decode(await anext(self._lines))
        thing = event["object"]
        codes = tuple(one["type"]["code"] for one in thing["status"].get("validationMessages", ()))
        metadata, (accepted,) = thing["metadata"], thing["status"]["conditions"]
        return Told(event["type"], metadata["name"], int(metadata["resourceVersion"]), codes, accepted["status"])


@contextlib.asynccontextmanager
async def watching(
    store: MemoryConfigStore, since: int | str = "", *, selected: Selector = EVERYTHING
) -> AsyncIterator[Watcher]:
    wanted = Wanted(target=TARGET, selector=selected, since=str(since))
    watch = Watch(store, wanted, lambda document, found: thing_of(document, found), closing=asyncio.Event())
    await watch.begin()
    lines = watch.lines()
    yield Watcher(lines)
    await lines.aclose()  # type: ignore[attr-defined]


def found(code: str) -> tuple[Diagnostic, ...]:
    return (Diagnostic(code=code, severity=Severity.ERROR, message="x"),)


async def put(store: MemoryConfigStore, name: str = "reviews", *, seconds: int = 1) -> Document:
    key = msgspec.structs.replace(KEY, name=name)
    stored = await store.get(key)
    return await store.put(Document(key=key, spec=b'{"a":%d}' % seconds, revision=stored.revision if stored else ""))


async def test_findings_that_change_are_told(world: Any) -> None:
    """Found, and gone again: MODIFIED each time, with the new status and a version beyond all before."""
    await put(world.store)
    async with watching(world.store) as watcher:
        assert await watcher.next() == Told("ADDED", "reviews", 1, (), "True")
        await world.store.report(KEY, found("IST0101"))
        assert await watcher.next() == Told("MODIFIED", "reviews", 2, ("IST0101",), "False")
        await world.store.report(KEY, found("IST0101"))
        await world.store.report(KEY, ())
        assert await watcher.next() == Told("MODIFIED", "reviews", 3, (), "True")


@pytest.mark.parametrize("since", [1, 2])
async def test_nobody_who_goes_on_misses_findings(world: Any, since: int) -> None:
    """From the version of the object, or of a list from before the report, one is told; from one after it, not."""
    await put(world.store)
    await put(world.store, "other")
    await world.store.report(KEY, found("IST0101"))
    async with watching(world.store, since) as watcher:
        if since == 1:
            assert (await watcher.next()).name == "other"
        assert await watcher.next() == Told("MODIFIED", "reviews", 3, ("IST0101",), "False")
        await put(world.store, "next")
        assert (await watcher.next()).name == "next"
    async with watching(world.store, 3) as watcher:
        assert (await watcher.next()).name == "next"


async def test_nothing_is_told_twice_or_out_of_order(world: Any) -> None:
    """A watcher who comes late sees each change with the newest findings, and none of the reports in between."""
    since = (await world.store.snapshot()).revision
    await put(world.store)
    await world.store.report(KEY, found("IST0101"))
    await put(world.store, seconds=2)
    await world.store.report(KEY, found("IST0102"))
    await put(world.store, "end")
    async with watching(world.store, since) as watcher:
        told = [await watcher.next() for _ in range(3)]
    assert [(each.type, each.name, each.version) for each in told] == [
        ("ADDED", "reviews", 1), ("MODIFIED", "reviews", 3), ("ADDED", "end", 5)]  # fmt: skip
    assert told[1].codes == ("IST0102",)


async def test_a_report_about_what_is_gone_is_not_told(world: Any) -> None:
    """Deleted, made anew without findings: the old ones are not shown."""
    await put(world.store)
    async with watching(world.store) as watcher:
        await watcher.next()
        await world.store.report(KEY, found("IST0101"))
        await world.store.delete(KEY)
        await put(world.store)
        told = [await watcher.next() for _ in range(2)]
    assert [(each.type, each.codes) for each in told] == [("DELETED", ()), ("ADDED", ())]


async def test_only_what_is_selected_is_told(world: Any) -> None:
    """By name, kind and namespace, as for changes."""
    for name in ("reviews", "other"):
        await put(world.store, name)
    async with watching(world.store, selected=selector("", "metadata.name=other")) as watcher:
        await watcher.next()
        await world.store.report(KEY, found("IST0101"))
        await world.store.report(msgspec.structs.replace(KEY, name="other"), found("IST0102"))
        assert (await watcher.next()).codes == ("IST0102",)


async def test_the_version_of_a_report_is_good_for_writing(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """What a watch showed at the version of a report can be replaced, patched and deleted by it; nothing newer can."""
    await http.post(RULES, json=rule())
    await world.store.report(KEY, found("IST0101"))
    replaced = await http.put(f"{RULES}/reviews", json=rule("ratings", resourceVersion="2"))
    assert (replaced.status_code, replaced.json()["metadata"]["resourceVersion"]) == (200, "3")
    for version, code in (("2", 409), ("1", 409), ("4", 409), ("99", 409), ("3", 200)):
        answer = await http.put(f"{RULES}/reviews", json=rule("details", resourceVersion=version))
        assert answer.status_code == code, version
    await world.store.report(KEY, found("IST0102"))
    patch = {"metadata": {"resourceVersion": "5", "labels": {"a": "b"}}}
    merge = {"content-type": "application/merge-patch+json"}
    assert (await http.patch(f"{RULES}/reviews", json=patch, headers=merge)).status_code == 200
    await world.store.report(KEY, found("IST0103"))
    order = {"verb": "remove", "object": rule(namespace="default", resourceVersion="7")}
    told = await http.post("/v1/transactions", params={"dryRun": "All"}, json={"orders": [order]})
    assert told.json()["outcomes"][0]["outcome"] == "deleted"
    gone = await http.request("DELETE", f"{RULES}/reviews", json={"preconditions": {"resourceVersion": "7"}})
    assert gone.status_code == 200
