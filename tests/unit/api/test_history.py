"""What became of one object: the route, and each change in one line."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.diagnostics import Diagnostic, Severity
from core.manager.api.histories import summary
from core.model.config import ConfigKey, Document
from core.model.labels import Labels

Rule = Callable[..., dict[str, object]]

PLACE = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")


def found(code: str) -> Diagnostic:
    return Diagnostic(code=code, severity=Severity.ERROR, message="no such host")


async def findings_of(http: httpx.AsyncClient) -> tuple[list[list[str]], list[str]]:
    """The codes of each change, and those of now."""
    told = (await http.get(f"{PLACE}/reviews/history")).json()
    listed = [[one["type"]["code"] for one in each["findings"]] for each in (*told["revisions"], told)]
    return listed[:-1], listed[-1]


async def test_every_change_is_remembered(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """Created, changed and deleted, oldest first, with what it was each time and what was found wrong with that."""
    created = (await http.post(PLACE, json=rule())).json()
    version = created["metadata"]["resourceVersion"]
    changed = (await http.put(f"{PLACE}/reviews", json=rule("ratings", resourceVersion=version))).json()
    await world.store.report(KEY, (found("IST0101"),))
    assert await findings_of(http) == ([[], ["IST0101"]], ["IST0101"])
    version = changed["metadata"]["resourceVersion"]
    await http.put(f"{PLACE}/reviews", json=rule("details", resourceVersion=version))
    await world.store.report(KEY, (found("IST0102"),))
    assert await findings_of(http) == ([[], ["IST0101"], ["IST0102"]], ["IST0102"])
    await http.delete(f"{PLACE}/reviews")
    assert await findings_of(http) == ([[], ["IST0101"], ["IST0102"], []], [])
    told = (await http.get(f"{PLACE}/reviews/history")).json()
    assert [each["change"] for each in told["revisions"]] == ["created", "changed", "changed", "deleted"]
    objects = [each["object"] for each in told["revisions"]]
    assert [each and each["spec"]["hosts"] for each in objects] == [["reviews"], ["ratings"], ["details"], None]
    assert told["revisions"][1]["summary"].startswith("spec.hosts[0]: reviews -> ratings")
    assert told["before"] is None


async def test_nothing_is_known_of_nobody(http: httpx.AsyncClient) -> None:
    """404, as for the object itself."""
    response = await http.get(f"{PLACE}/nobody/history")
    assert (response.status_code, response.json()["reason"]) == (404, "NotFound")
    assert (await http.post(f"{PLACE}/nobody/history", json={})).status_code == 405


def document(spec: bytes, **labels: str) -> Document:
    return Document(key=KEY, spec=spec, labels=Labels.of(labels))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, document(b"{}"), "created"),
        (document(b"{}"), None, "deleted"),
        (document(b"{}"), document(b"{}"), "what others keep in it"),
        (document(b'{"a":[{"b":1}]}'), document(b'{"a":[{"b":2}]}'), "spec.a[0].b: 1 -> 2"),
        (document(b'{"a":"x"}'), document(b'{"b":true}'), "spec.a removed, and 1 more"),
        (document(b'{"a":[1]}'), document(b'{"a":[1,2]}'), "spec.a: [1] -> [1,2]"),
        (document(b"{}"), document(b"{}", team="a"), "metadata.labels.team added: a"),
        (document(b"{}"), document(b'{"a":"%s"}' % (b"x" * 99)), f"spec.a added: {'x' * 40}..."),
    ],
)
def test_a_change_in_one_line(before: Document | None, after: Document | None, said: str) -> None:
    """The first field that is different, and how many others are."""
    assert summary(before, after) == said
