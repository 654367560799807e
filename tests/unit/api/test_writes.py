"""Writes beyond create and replace: patches, apply, status, collections, and who they are for."""

from typing import Any

import httpx
import pytest

GROUP = "/apis/networking.istio.io/v1"
RULES = f"{GROUP}/namespaces/default/virtualservices"
REVIEWS = f"{RULES}/reviews"
MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}


async def test_a_patch_may_name_the_version_it_is_for(http: httpx.AsyncClient, rule: Any) -> None:
    """An old one is a conflict; none is the newest."""
    await http.post(RULES, json=rule())
    old = await http.patch(REVIEWS, json={"metadata": {"resourceVersion": "99"}}, headers=MERGE)
    good = await http.patch(REVIEWS, json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE)
    assert (old.status_code, good.status_code) == (409, 200)


async def test_the_status_is_apart_from_the_spec(http: httpx.AsyncClient, rule: Any) -> None:
    """A write of the one never changes the other, nor the generation; what the Manager says stays the Manager's."""
    await http.post(RULES, json=rule())
    condition = {"type": "Ready", "status": "True"}
    ours = {"type": "Accepted", "status": "False"}
    body = {"status": {"conditions": [condition, ours], "x": 1}, "spec": {"hosts": ["changed"]}}
    changed = (await http.patch(f"{REVIEWS}/status", json=body, headers=MERGE)).json()
    assert changed["spec"]["hosts"] == ["reviews"]
    assert (changed["metadata"]["generation"], changed["status"]["x"]) == (1, 1)
    assert [(c["type"], c["status"]) for c in changed["status"]["conditions"]] == [
        ("Accepted", "True"),
        ("Ready", "True"),
    ]
    written = rule("ratings", resourceVersion=changed["metadata"]["resourceVersion"]) | {"status": {}}
    after = (await http.put(REVIEWS, json=written)).json()
    assert (after["spec"]["hosts"], after["status"]["x"]) == (["ratings"], 1)
    assert (await http.get(f"{REVIEWS}/scale")).status_code == 404


async def test_what_others_keep_in_an_object_is_kept(http: httpx.AsyncClient, rule: Any) -> None:
    """Finalizers, owners, and beside the spec whatever is not known when the client says so."""
    owner = {"apiVersion": "v1", "kind": "X", "name": "y", "uid": "z"}
    sent = rule(finalizers=["a/b"], ownerReferences=[owner], odd="1") | {"more": {"x": [1]}}
    assert (await http.post(RULES, json=sent)).status_code == 422
    made = await http.post(RULES, params={"fieldValidation": "Warn"}, json=sent)
    assert made.headers.get_list("warning")[0].endswith('unknown field \\"more\\""')
    found = (await http.get(REVIEWS)).json()
    assert (found["more"], found["metadata"]["odd"]) == ({"x": [1]}, "1")
    assert (found["metadata"]["finalizers"], found["metadata"]["ownerReferences"]) == (["a/b"], [owner])


async def test_apply_creates_needs_a_manager_and_takes_yaml(http: httpx.AsyncClient) -> None:
    """201 the first time, 200 the second, 400 without a fieldManager; a misspelt field is found."""
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n"
    text += "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n"
    assert (await http.patch(REVIEWS, content=text, headers=APPLY)).status_code == 400
    codes = [(await http.patch(f"{REVIEWS}?fieldManager=m", content=text, headers=APPLY)) for _ in range(2)]
    assert [c.status_code for c in codes] == [201, 200]
    assert codes[0].json() == codes[1].json()
    for wrong in (text + "sepc: {}\n", text.replace("name: reviews", "name: reviews, lables: {}")):
        assert (await http.patch(f"{REVIEWS}?fieldManager=m", content=wrong, headers=APPLY)).status_code == 422
    assert (await http.patch(f"{REVIEWS}?fieldManager=m", content="a: [", headers=APPLY)).status_code == 400


@pytest.mark.parametrize("headers", [MERGE, APPLY])
async def test_what_is_nested_too_deeply_is_refused(headers: Any, http: httpx.AsyncClient, rule: Any) -> None:
    """400, and never a failure of the Manager."""
    await http.post(RULES, json=rule())
    deep = '{"spec":' + '{"a":' * 990 + "1" + "}" * 991
    answer = await http.patch(f"{REVIEWS}?fieldManager=m", content=deep, headers=headers)
    assert answer.status_code in (400, 422)


async def test_a_collection_is_deleted_by_selector(http: httpx.AsyncClient, rule: Any) -> None:
    """Only what it selects, and nothing in a rehearsal."""
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        await http.post(RULES, json=rule(name=name, labels={"team": team}))
    await http.delete(RULES, params={"labelSelector": "team=x", "dryRun": "All"})
    assert len((await http.get(RULES)).json()["items"]) == 3
    await http.delete(RULES, params={"labelSelector": "team=x"})
    assert [item["metadata"]["name"] for item in (await http.get(RULES)).json()["items"]] == ["c"]


async def test_an_object_is_deleted_by_uid(http: httpx.AsyncClient, rule: Any) -> None:
    """A namesake that came later is spared."""
    uid = (await http.post(RULES, json=rule())).json()["metadata"]["uid"]
    options: dict[str, Any] = {"preconditions": {"uid": "another"}}
    assert (await http.request("DELETE", REVIEWS, json=options)).status_code == 409
    options["preconditions"]["uid"] = uid
    assert (await http.request("DELETE", REVIEWS, json=options)).json()["details"]["uid"] == uid


@pytest.mark.parametrize("media", ["application/strategic-merge-patch+json", "application/json", ""])
async def test_patches_that_are_not_served_are_415(media: str, http: httpx.AsyncClient) -> None:
    """With the types that would do."""
    answer = await http.patch(REVIEWS, content=b"{}", headers={"content-type": media})
    assert (answer.status_code, "application/merge-patch+json" in answer.json()["message"]) == (415, True)


async def test_discovery_in_both_forms_names_every_kind(http: httpx.AsyncClient) -> None:
    """And no core group, which would be empty."""
    assert (await http.get("/api")).json()["versions"] == []
    listed = (await http.get("/apis/networking.istio.io/v1beta1")).json()["resources"]
    newest = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    whole = await http.get("/apis", headers={"accept": f"{newest},application/json"})
    assert whole.headers["content-type"] == newest
    (group,) = [g for g in whole.json()["items"] if g["metadata"]["name"] == "networking.istio.io"]
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1", "v1alpha3"]
    assert {r["resource"] for r in group["versions"][1]["resources"]} == {
        r["name"] for r in listed if "/" not in r["name"]
    }
    assert (await http.get("/apis/nothing.io")).status_code == 404
    assert (await http.get("/openapi/v2")).status_code == 404


async def test_openapi_documents_are_made_of_the_kinds(http: httpx.AsyncClient) -> None:
    """One per group and version; a patch lists what clients ask for before they send it."""
    paths = (await http.get("/openapi/v3")).json()["paths"]
    assert "apis/security.istio.io/v1" in paths
    found = (await http.get(paths["apis/networking.istio.io/v1"]["serverRelativeURL"])).json()
    spec = found["components"]["schemas"]["io.istio.networking.v1.VirtualService"]["properties"]["spec"]
    assert spec["properties"]["http"]["items"]["properties"]["route"]["type"] == "array"
    patch = found["paths"][f"{GROUP}/namespaces/{{namespace}}/virtualservices/{{name}}"]["patch"]
    assert {"dryRun", "fieldValidation"} <= {p["name"] for p in patch["parameters"]}
