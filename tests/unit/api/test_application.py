"""The verbs of the config API, one request at a time."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from core.diagnostics import Diagnostic, Severity
from core.errors import Denied, Unavailable
from core.manager.api.questions import LARGEST_BODY
from core.manager.status import Applied, Delivery, Held, MeshStatus, Progress, ProxyStatus, Refusal
from core.model.config import ConfigKey, Document, Origin
from core.model.service import WorkloadKey

GROUP = "/apis/networking.istio.io/v1"
RULES = f"{GROUP}/namespaces/default/virtualservices"
REVIEWS = f"{RULES}/reviews"
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")

Rule = Callable[..., dict[str, Any]]


def refused(answer: httpx.Response, code: int) -> dict[str, Any]:
    """The body, after the parts that every refusal has were checked."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["kind"], body["status"]) == (code, code, "Status", "Failure"), body
    assert body["message"]
    assert body["reason"]
    return body


async def test_what_is_created_can_be_read(http: httpx.AsyncClient, rule: Rule) -> None:
    """POST answers 201 with the stored object, and GET the same."""
    made = await http.post(RULES, json=rule(labels={"team": "a"}))
    assert made.status_code == 201
    metadata = made.json()["metadata"]
    assert metadata.pop("uid")
    assert metadata.pop("managedFields")[0]["manager"] == "python-httpx"
    assert metadata == {
        "name": "reviews",
        "namespace": "default",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2023-11-14T22:13:20Z",
        "labels": {"team": "a"},
    }
    assert (await http.get(REVIEWS)).json() == made.json()


async def test_every_version_of_a_kind_shows_the_same_object(http: httpx.AsyncClient, rule: Rule) -> None:
    """Written as v1, it can be read as v1beta1."""
    await http.post(RULES, json=rule())
    assert (await http.get(REVIEWS.replace("/v1/", "/v1beta1/"))).json()["apiVersion"] == "networking.istio.io/v1beta1"


async def test_lists_are_of_one_namespace_or_of_all(http: httpx.AsyncClient, rule: Rule) -> None:
    """A list is of its kind only, in key order, and says of what it is a list."""
    for namespace in ("b", "a"):
        await http.post(f"{GROUP}/namespaces/{namespace}/virtualservices", json=rule())
    everything = (await http.get(f"{GROUP}/virtualservices")).json()
    assert everything["kind"] == "VirtualServiceList"
    assert [item["metadata"]["namespace"] for item in everything["items"]] == ["a", "b"]
    assert len((await http.get(f"{GROUP}/namespaces/a/virtualservices")).json()["items"]) == 1
    assert (await http.get(f"{GROUP}/destinationrules")).json()["items"] == []


async def test_a_replacement_changes_the_version(http: httpx.AsyncClient, rule: Rule) -> None:
    """PUT with the version that was read stores the new spec under a new version and counts its generation."""
    await http.post(RULES, json=rule())
    answer = await http.put(REVIEWS, json=rule("ratings", resourceVersion="1"))
    metadata = answer.json()["metadata"]
    assert (answer.status_code, metadata["resourceVersion"], metadata["generation"]) == (200, "2", 2)


async def test_an_equal_replacement_changes_nothing(http: httpx.AsyncClient, rule: Rule) -> None:
    """PUT of what is stored already keeps the version."""
    await http.post(RULES, json=rule())
    assert (await http.put(REVIEWS, json=rule(resourceVersion="1"))).json()["metadata"]["resourceVersion"] == "1"


async def test_a_replacement_of_an_old_version_is_a_conflict(http: httpx.AsyncClient, rule: Rule) -> None:
    """Who has not seen the newest version may not overwrite it."""
    await http.post(RULES, json=rule())
    await http.put(REVIEWS, json=rule("ratings", resourceVersion="1"))
    body = refused(await http.put(REVIEWS, json=rule("details", resourceVersion="1")), 409)
    assert body["reason"] == "Conflict"


async def test_a_replacement_has_to_say_of_which_version(http: httpx.AsyncClient, rule: Rule) -> None:
    """PUT without a resource version is refused, and the field is named."""
    await http.post(RULES, json=rule())
    (cause,) = refused(await http.put(REVIEWS, json=rule()), 422)["details"]["causes"]
    assert cause["field"] == "metadata.resourceVersion"


async def test_creating_twice_is_a_conflict(http: httpx.AsyncClient, rule: Rule) -> None:
    """POST of a name that exists answers 409 AlreadyExists."""
    await http.post(RULES, json=rule())
    assert refused(await http.post(RULES, json=rule()), 409)["reason"] == "AlreadyExists"


async def test_what_is_deleted_is_gone(http: httpx.AsyncClient, rule: Rule) -> None:
    """DELETE answers a Status that says Success; a second one finds nothing."""
    await http.post(RULES, json=rule())
    assert (await http.delete(REVIEWS)).json()["status"] == "Success"
    refused(await http.delete(REVIEWS), 404)


async def test_a_deletion_can_depend_on_the_version(http: httpx.AsyncClient, rule: Rule) -> None:
    """DeleteOptions.preconditions.resourceVersion that is out of date keeps the object."""
    await http.post(RULES, json=rule())
    options = {"kind": "DeleteOptions", "preconditions": {"resourceVersion": "99"}}
    refused(await http.request("DELETE", REVIEWS, json=options), 409)
    assert (await http.get(REVIEWS)).status_code == 200


@pytest.mark.parametrize("options", [{"json": {"dryRun": ["All"]}}, {"params": {"dryRun": "All"}}])
async def test_a_rehearsed_deletion_deletes_nothing(
    options: dict[str, Any], http: httpx.AsyncClient, rule: Rule
) -> None:
    """dryRun counts wherever Kubernetes' clients put it."""
    await http.post(RULES, json=rule())
    assert (await http.request("DELETE", REVIEWS, **options)).status_code == 200
    assert (await http.get(REVIEWS)).status_code == 200


async def test_a_rehearsed_creation_stores_nothing(http: httpx.AsyncClient, rule: Rule) -> None:
    """dryRun=All answers as the real thing would, and nothing is there afterwards."""
    assert (await http.post(RULES, params={"dryRun": "All"}, json=rule())).status_code == 201
    refused(await http.get(REVIEWS), 404)


async def test_a_rehearsed_replacement_stores_nothing(http: httpx.AsyncClient, rule: Rule) -> None:
    """The rehearsal shows the generation there would be and says by its version whether anything would change."""
    await http.post(RULES, json=rule())
    same = await http.put(REVIEWS, params={"dryRun": "All"}, json=rule(resourceVersion="1"))
    other = await http.put(REVIEWS, params={"dryRun": "All"}, json=rule("ratings", resourceVersion="1"))
    assert same.json()["metadata"]["resourceVersion"] == "1"
    assert (other.json()["metadata"].get("resourceVersion"), other.json()["metadata"]["generation"]) == (None, 2)
    assert (await http.get(REVIEWS)).json()["spec"]["hosts"] == ["reviews"]


async def test_a_wrong_rule_is_refused_with_code_and_field(http: httpx.AsyncClient, rule: Rule) -> None:
    """422 names every wrong field and our code for it, and nothing is stored."""
    wrong = rule()
    wrong["spec"] |= {"hostz": [], "gateways": 5}
    causes = refused(await http.post(RULES, json=wrong), 422)["details"]["causes"]
    assert {(cause["reason"], cause["field"]) for cause in causes} == {
        ("IST0106", "spec.hostz"),
        ("IST0106", "spec.gateways"),
    }
    refused(await http.get(REVIEWS), 404)


async def test_a_doubtful_rule_is_stored_with_a_warning(http: httpx.AsyncClient, rule: Rule) -> None:
    """Warnings travel in `Warning` headers, which kubectl prints."""
    doubtful = rule()
    routes = doubtful["spec"]["http"]
    doubtful["spec"]["http"] = [*routes, *routes]
    answer = await http.post(RULES, json=doubtful)
    assert answer.status_code == 201
    assert answer.headers["warning"].startswith('299 - "')
    assert "spec.http[1]" in answer.headers["warning"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": {"name": "reviews", "labels": {"a": 1}}}, "metadata.labels"),
        ({"metadata": []}, "metadata"),
        ({"kind": None}, "kind"),
        ({"metadata": {"name": "No_Name"}}, "metadata.name"),
        ({"metadata": {"name": ""}}, "metadata.name"),
        ({"metadata": {"name": "../etc"}}, "metadata.name"),
        ({"metadata": {"name": "a" * 254}}, "metadata.name"),
        ({"metadata": {"name": "reviews", "labels": {"a/b/c": "d"}}}, "metadata.labels"),
        ({"metadata": {"name": "reviews", "lables": {}}}, "metadata.lables"),
        ({"sepc": {}}, "sepc"),
        ({"spec": {"hosts": ["a" * 1_100_000]}}, "spec"),
        ({"spec": []}, "spec"),
    ],
)
async def test_a_wrong_envelope_is_refused_with_its_field(
    change: dict[str, Any], field: str, http: httpx.AsyncClient, rule: Rule
) -> None:
    """What is around the spec is checked, too."""
    causes = refused(await http.post(RULES, json=rule() | change), 422)["details"]["causes"]
    assert causes[0]["field"].startswith(field)


async def test_what_only_a_cluster_knows_is_let_through(http: httpx.AsyncClient, rule: Rule) -> None:
    """An object that was read from a cluster can be written here as it is."""
    written = rule(uid="1-2", managedFields=[{"manager": "kubectl"}], finalizers=[], generation=7) | {"status": {}}
    assert (await http.post(RULES, json=written)).json()["metadata"]["generation"] == 1


async def test_a_namespace_that_is_none_is_refused(http: httpx.AsyncClient, rule: Rule) -> None:
    """The namespace of the path is checked like the one of an object."""
    answer = await http.post(f"{GROUP}/namespaces/No_Name/virtualservices", json=rule())
    assert refused(answer, 422)["details"]["causes"][0]["field"] == "metadata.namespace"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "DestinationRule"},
        {"apiVersion": "networking.istio.io/v1beta1"},
        {"metadata": {"name": "reviews", "namespace": "other"}},
    ],
)
async def test_object_and_path_must_agree(change: dict[str, Any], http: httpx.AsyncClient, rule: Rule) -> None:
    """An object is stored where it was sent, or not at all."""
    assert "does not match" in refused(await http.post(RULES, json=rule() | change), 400)["message"]


async def test_the_name_must_agree_with_the_path(http: httpx.AsyncClient, rule: Rule) -> None:
    """PUT does not rename."""
    await http.post(RULES, json=rule())
    refused(await http.put(REVIEWS, json=rule(name="ratings", resourceVersion="1")), 400)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/apis/networking.istio.io/v1/unicorns",
        "/apis/networking.istio.io/v9/virtualservices",
        "/apis/example.com/v1/virtualservices",
        REVIEWS,
    ],
)
async def test_what_is_not_there_is_a_status(path: str, http: httpx.AsyncClient) -> None:
    """404 has the same form for a path, a kind, a version and an object."""
    assert refused(await http.get(path), 404)["reason"] == "NotFound"


async def test_verbs_that_are_not_served_are_a_status(http: httpx.AsyncClient) -> None:
    """405 has the form of every other refusal."""
    assert refused(await http.put(RULES), 405)["reason"] == "MethodNotAllowed"


@pytest.mark.parametrize("content", [b"", b"not json", b"{"])
async def test_what_is_not_json_is_a_bad_request(content: bytes, http: httpx.AsyncClient) -> None:
    """400 before anything else is looked at."""
    refused(await http.post(RULES, content=content, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize("media_type", ["text/plain", "application/yaml"])
async def test_what_says_that_it_is_something_else_than_json_is_refused(
    media_type: str, http: httpx.AsyncClient
) -> None:
    """415 names the type that would do."""
    answer = await http.post(RULES, content=b"{}", headers={"content-type": media_type})
    assert "application/json" in refused(answer, 415)["message"]


async def test_a_huge_body_is_refused(http: httpx.AsyncClient) -> None:
    """413 as soon as the limit is passed."""
    content = b" " * (LARGEST_BODY + 1)
    refused(await http.post(RULES, content=content, headers={"content-type": "application/json"}), 413)


@pytest.mark.parametrize(
    "query", ["labelSelector=a%3D%3D%3Db", "fieldSelector=a%3Db", "continue=x", "limit=-1", "includeObject=Half"]
)
async def test_a_list_never_ignores_what_would_change_it(query: str, http: httpx.AsyncClient) -> None:
    """A selector that is not served is refused: the whole list would be a wrong answer."""
    refused(await http.get(f"{RULES}?{query}", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}), 400)


async def test_an_unknown_rehearsal_is_refused(http: httpx.AsyncClient, rule: Rule) -> None:
    """dryRun=Maybe must not become a real write."""
    refused(await http.post(RULES, params={"dryRun": "Maybe"}, json=rule()), 400)
    refused(await http.get(REVIEWS), 404)


async def test_findings_show_in_the_status(world: Any, http: httpx.AsyncClient, rule: Rule) -> None:
    """What the Manager found out after admission is in status.validationMessages."""
    await http.post(RULES, json=rule())
    found = Diagnostic(code="IST0101", severity=Severity.ERROR, message="no host")
    await world.store.report(KEY, (found,))
    (message,) = (await http.get(REVIEWS)).json()["status"]["validationMessages"]
    assert (message["type"], message["level"]) == ({"code": "IST0101"}, "ERROR")


async def test_status_shows_every_proxy(world: Any, http: httpx.AsyncClient) -> None:
    """Who is connected since when, how far each type has come, and what was refused and why."""
    refusal = Refusal(type="RDS", resource="80", reason="bad regex", origin=Origin(KEY, "spec.http[0]"))
    world.proxies = (
        ProxyStatus(
            workload=WorkloadKey("default", "reviews-v1"),
            node="sidecar~1",
            connected_since=5.0,
            deliveries=(Delivery(type="CDS", sent="a", acked="a", generation=3),),
        ),
        ProxyStatus(
            workload=WorkloadKey("default", "ratings"), node="sidecar~2", connected_since=6.0, refused=(refusal,)
        ),
    )
    first, second = (await http.get("/status")).json()["proxies"]
    assert first["synced"] is True
    assert first["deliveries"] == [
        {"type": "CDS", "sent": "a", "acked": "a", "generation": 3, "waiting": False, "brought": False}
    ]
    assert (second["synced"], second["refused"][0]["origin"]["path"]) == (False, "spec.http[0]")


async def test_status_shows_what_is_out_of_force(world: Any, http: httpx.AsyncClient) -> None:
    """A document that a proxy refused: which, whose proxy, and why; the answer is what `MeshStatus` reads."""
    refusal = Refusal(type="RDS", resource="80", reason="bad regex", origin=Origin(KEY))
    world.held = (Held(document=KEY, workload=WorkloadKey("default", "reviews-v1"), refusal=refusal),)
    answer = await http.get("/status")
    assert msgspec.json.decode(answer.content, type=MeshStatus) == MeshStatus(proxies=(), held=world.held)


async def test_version_and_health(http: httpx.AsyncClient) -> None:
    """Both answer without a rule or a proxy in the mesh."""
    assert (await http.get("/healthz")).text == "ok"
    version = (await http.get("/version")).json()
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}")


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("locked"), 503), (Denied("no"), 403), (RuntimeError("secret"), 500)]
)
async def test_failures_of_the_store_are_a_status(
    error: Exception, code: int, world: Any, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller sees what is his business; what a bug says stays in the log."""

    async def broken(key: ConfigKey) -> Document | None:
        raise error

    monkeypatch.setattr(world.store, "get", broken)
    assert ("secret" in refused(await http.get(REVIEWS), code)["message"]) is False


async def test_status_may_be_asked_for_some_documents(world: Any, http: httpx.AsyncClient) -> None:
    """By name, by the revision since which they changed, or both; what cannot be understood is refused."""
    keys = [ConfigKey("g", "K", "default", name) for name in ("a", "b", "c")]
    applied = [Applied(document=key, revision=str(number), generation=9) for number, key in enumerate(keys, 5)]
    world.progress = Progress(generation=9, documents=tuple(applied))

    async def names(**query: Any) -> list[str]:
        found = (await http.get("/status", params=query)).json()
        return [each["document"]["name"] for each in found["progress"]["documents"]]

    assert await names() == ["a", "b", "c"]
    assert await names(document=["g/K/default/c", "g/K/default/a", "g/K/default/x"]) == ["a", "c"]
    assert await names(since="6") == ["b", "c"]
    assert await names(since="6", document="g/K/default/c") == ["c"]
    assert await names(since="8") == []
    for bad in ({"since": "x"}, {"document": "a"}):
        refused(await http.get("/status", params=bad), 400)
