"""Which policies are asked where, and what a change of one costs."""

from collections import Counter

import msgspec
import pytest
import yaml

from core.compiler.access import ANYBODY, Access, access
from core.compiler.findings import findings
from core.compiler.proxyless import grpc_servers
from core.ir.access import Clause, Header, Identity, Port, What, Who
from core.ir.values import Exact, Prefix, Regex
from core.manager.refusals import Contribution
from core.manager.testing.facts import Plane, documents, instance, redirected, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.change import Change, ConfigGone, ConfigPut
from core.model.config import Document
from core.model.service import WorkloadKey
from core.model.workload import Proxyless
from core.view.access import Check

ROOT = "istio-system"
APP = {"app": "a"}


def policy(
    spec: str, *, name: str = "p", namespace: str = "default", dry_run: str = "false", created: float = 0.0
) -> Document:
    metadata = {"name": name, "namespace": namespace, "annotations": {"istio.io/dry-run": dry_run}}
    header = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata}
    (found,) = documents(yaml.safe_dump({**header, "spec": yaml.safe_load(spec)}))
    return msgspec.structs.replace(found, created=created)


def asked(plane: Plane, name: str) -> Access:
    return access(plane.world.inputs, workload_key(name))


def names(checks: tuple[Check, ...]) -> list[str]:
    return [
        f"{'dry ' * each.dry_run}{each.action} {', '.join(p.name for p in each.policies)}".strip() for each in checks
    ]


SELECTING = "{selector: {matchLabels: {app: a}}, rules: [{}]}"


def test_without_policies_everybody_may_call() -> None:
    assert asked(Plane(workload("w")), "w") == ANYBODY


def test_policies_of_the_root_the_namespace_and_the_workload_are_all_asked() -> None:
    """A selector in the root namespace selects in every namespace; policies of other namespaces are not asked."""
    plane = Plane(
        workload("w", labels=APP),
        workload("other", number=2),
        workload("w.shop", number=3, labels=APP),
        policy(SELECTING, name="own"),
        policy(SELECTING, name="root", namespace=ROOT),
        policy("{rules: [{}]}", name="all"),
        policy("{rules: [{}]}", name="mesh", namespace=ROOT),
    )
    found = {name: names(asked(plane, name).http) for name in ("w", "other", "w.shop")}
    own, root = "ns[default]-policy[own]-rule[0]", "ns[istio-system]-policy[root]-rule[0]"
    everyone, mesh = "ns[default]-policy[all]-rule[0]", "ns[istio-system]-policy[mesh]-rule[0]"
    assert found["w"] == [f"ALLOW {everyone}, {own}, {mesh}, {root}"]
    assert found["other"] == [f"ALLOW {everyone}, {mesh}"]
    assert found["w.shop"] == [f"ALLOW {mesh}, {root}"]


def test_a_policy_finds_workloads_that_come_later_and_those_whose_labels_change() -> None:
    plane = Plane(policy(SELECTING))
    plane.told(workload("w"))
    assert asked(plane, "w") == ANYBODY
    plane.told(workload("w", labels=APP))
    assert names(asked(plane, "w").http) == ["ALLOW ns[default]-policy[p]-rule[0]"]
    plane.told(workload("w", labels={"app": "b"}))
    assert asked(plane, "w") == ANYBODY


def test_deny_comes_before_allow_and_dry_runs_before_both() -> None:
    plane = Plane(
        workload("w"),
        policy("{rules: [{}]}", name="allow"),
        policy("{action: DENY, rules: [{}, {}]}", name="deny", created=1.0),
        policy("{action: AUDIT, rules: [{}]}", name="audit", created=2.0),
        policy("{rules: [{}]}", name="dry", dry_run="true", created=3.0),
    )
    assert names(asked(plane, "w").http) == [
        "dry ALLOW ns[default]-policy[dry]-rule[0]",
        "AUDIT ns[default]-policy[audit]-rule[0]",
        "DENY ns[default]-policy[deny]-rule[0], ns[default]-policy[deny]-rule[1]",
        "ALLOW ns[default]-policy[allow]-rule[0]",
    ]


RULE = """
action: %s
rules:
- to: [{operation: {methods: [GET], ports: ["80"]}}]
  from: [{source: {namespaces: [a]}}]
"""


def test_bytes_have_no_methods() -> None:
    """A rule that asks for one allows nobody, and denies whoever the rest of it is for (Istio)."""
    plane = Plane(workload("w"), policy(RULE % "ALLOW"))
    assert asked(plane, "w").bytes == (Check(action="ALLOW", policies=()),)
    plane.told(policy(RULE % "DENY"))
    ((check,), (http,)) = asked(plane, "w").bytes, asked(plane, "w").http
    who = Who(any_of=(Identity(Regex("spiffe://[^/]+/ns/a/.*")),))
    port, method = What(any_of=(Port(80),)), What(any_of=(Header(":method", Exact("GET")),))
    assert clause(check) == Clause(sources=((who,),), operations=((port,),))
    assert clause(http) == Clause(sources=((who,),), operations=((port, method),))


def clause(check: Check) -> Clause:
    (found,) = check.policies
    return found.clause


def test_grpc_without_a_proxy_is_asked_nothing_that_it_refuses() -> None:
    """Its own headers (gRFC A41) are on the safe side, dry runs and audits are left out."""
    text = '{action: %s, rules: [{when: [{key: "request.headers[grpc-timeout]", values: [1*]}]}]}'
    plane = Plane(workload("w"), policy(text % "ALLOW"), policy(text % "AUDIT", name="b"))
    plane.told(policy(text % "DENY", name="c"))
    plane.told(policy(text % "DENY", name="d", dry_run="true"))
    (deny, allow) = asked(plane, "w").grpc
    assert (clause(deny), allow.policies) == (Clause(), ())
    assert clause(asked(plane, "w").http[-1]).operations == ((What(any_of=(Header("grpc-timeout", Prefix("1")),)),),)


@pytest.mark.parametrize("key", ["request.headers[x-a-bin]", "request.headers[te]", "connection.sni"])
def test_what_grpc_shows_to_no_policy_is_on_the_safe_side(key: str) -> None:
    text = f'{{action: %s, rules: [{{when: [{{key: "{key}", notValues: [a]}}]}}]}}'
    plane = Plane(workload("w"), policy(text % "ALLOW"), policy(text % "DENY", name="b"))
    (deny, allow) = asked(plane, "w").grpc
    assert (clause(deny), allow.policies) == (Clause(), ())


@pytest.mark.parametrize(("value", "among"), [("a", "(.*,)?a(,.*)?"), ("a*", "(.*,)?a.*"), ("*a", ".*a(,.*)?")])
def test_grpc_lets_nobody_in_for_sending_a_header_twice(value: str, among: str) -> None:
    """It joins the values by commas; what denies looks for one among others, what allows wants it alone."""
    text = f'{{action: %s, rules: [{{when: [{{key: "request.headers[x]", %s: ["{value}"]}}]}}]}}'
    (wide,) = (Header("x", Regex(among)),)
    for action, field, expected in (
        ("DENY", "values", What(any_of=(wide,))),
        ("ALLOW", "notValues", What(none_of=(wide,))),
    ):
        (check,) = asked(Plane(workload("w"), policy(text % (action, field))), "w").grpc
        assert clause(check).operations == ((expected,),)
    (check,) = asked(Plane(workload("w"), policy(text % ("ALLOW", "values"))), "w").grpc
    assert wide not in clause(check).operations[0][0].any_of


def test_a_document_with_a_mistake_lets_nobody_in() -> None:
    """And nothing of it stays when it goes."""
    plane = Plane(workload("w"), wrong := policy("{rules: [{form: []}]}"))
    assert [clause(each) for each in asked(plane, "w").http] == [Clause(sources=(), operations=())]
    plane.pusher.apply(ConfigGone(wrong.key))
    assert asked(plane, "w") == ANYBODY


def test_a_server_without_a_proxy_has_the_checks_of_its_workload() -> None:
    server = msgspec.structs.replace(workload("w", labels=APP), capture=Proxyless(ports=(80,)))
    plane = Plane(server, service("s"), instance("s", server.address, workload="w"), policy(SELECTING))
    found = grpc_servers(plane.world.inputs, WorkloadKey("default", "w"))
    assert found
    assert all(names(each.checks) == ["ALLOW ns[default]-policy[p]-rule[0]"] for each in found)


def found(plane: Plane, document: Document) -> list[tuple[str, str]]:
    return [(each.code, each.origin.path if each.origin else "") for each in findings(plane.world.inputs, document.key)]


def test_a_policy_for_nobody_is_told() -> None:
    """One of the root namespace may mean workloads anywhere."""
    plane = Plane(workload("w"), one := policy(SELECTING), root := policy(SELECTING, namespace=ROOT))
    assert found(plane, one) == [("IST0127", "spec.selector.matchLabels")]
    assert found(plane, root) == []
    plane.told(workload("w", labels=APP))
    assert found(plane, one) == []


def test_what_grpc_leaves_out_is_told() -> None:
    """Dry runs and audits, where there is such a server."""
    server = msgspec.structs.replace(workload("w"), capture=Proxyless(ports=(80,)))
    text = "{action: %s, rules: [{}]}"
    audit, dry, deny = (
        policy(text % "AUDIT", name="a"),
        policy(text % "DENY", name="b", dry_run="true"),
        policy(text % "DENY", name="c"),
    )
    plane = Plane(server, audit, dry, deny)
    assert [len(found(plane, each)) for each in (audit, dry, deny)] == [1, 1, 0]
    assert found(plane, dry) == [("MSH0020", "spec.action")]
    plane.told(workload("w"))
    assert found(plane, audit) == []


def terms(mode: str, *, namespace: str = "default") -> Document:
    header = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}
    spec = {"mtls": {"mode": mode}}
    (found,) = documents(yaml.safe_dump({**header, "metadata": {"name": "all", "namespace": namespace}, "spec": spec}))
    return found


ONE = "{action: %s, rules: [{from: [{source: {namespaces: [a]}}]}]}"
STRANGERS = "{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}, {from: [{source: {notNamespaces: [b]}}]}]}"
IN_VAIN = [("MSH0021", "spec.rules[0].from")]


@pytest.mark.parametrize(
    ("mode", "text", "expected"),
    [
        ("PERMISSIVE", ONE % "DENY", IN_VAIN),
        ("DISABLE", ONE % "DENY", IN_VAIN),
        ("STRICT", ONE % "DENY", []),
        ("PERMISSIVE", STRANGERS, []),
        ("PERMISSIVE", ONE % "ALLOW", []),
        ("DISABLE", ONE % "ALLOW", IN_VAIN),
        ("DISABLE", "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}", []),
    ],
)
def test_identities_where_callers_have_none_are_told(mode: str, text: str, expected: list[tuple[str, str]]) -> None:
    """A denial that plain callers get round, unless they are denied beside it; a permission that nobody can have."""
    plane = Plane(workload("w"), one := policy(text), terms(mode))
    assert found(plane, one) == expected


def test_so_they_are_for_the_mesh_for_ports_and_for_grpc_servers() -> None:
    plane = Plane(workload("w"), root := policy(ONE % "DENY", namespace=ROOT))
    assert found(plane, root) == IN_VAIN
    plane.told(terms("STRICT", namespace=ROOT))
    assert found(plane, root) == []
    plane.told(one := policy(ONE % "ALLOW"), terms("PERMISSIVE"))
    assert found(plane, one) == []
    plane.told(msgspec.structs.replace(workload("w"), capture=Proxyless(ports=(80,))))
    assert found(plane, one) == IN_VAIN


# -- what it costs -----------------------------------------------------------------------------------------------------


def mesh(count: int) -> Plane:
    """So many workloads with a service each, half of them in either capture, and a proxy for each."""
    plane = Plane()
    for i in range(count):
        make = redirected if i % 2 else workload
        found = make(f"w{i}", number=i + 1, labels={"app": f"a{i}"})
        plane.told(found)
        plane.told(service(f"s{i}"))
        plane.told(instance(f"s{i}", found.address, workload=f"w{i}", account="x"))
    plane.connected(*(f"w{i}" for i in range(count)))
    return plane


def runs(plane: Plane, news: Change) -> dict[str, int]:
    with plane.world.inputs.graph.counting() as counted:
        plane.pusher.apply(news)
        plane.pusher.settle()
    return dict(+Counter(counted))


def test_a_policy_costs_the_inbound_part_of_those_it_selects() -> None:
    """One workload of many: its rules, its checks, its listeners; the same in any mesh, and again when it goes."""
    small, large = mesh(6), mesh(40)
    for i in (2, 3):
        text = f"{{action: DENY, selector: {{matchLabels: {{app: a{i}}}}}, rules: [{{}}]}}"
        put = ConfigPut(policy(text, name=f"p{i}"))
        counts = runs(small, put)
        assert counts == runs(large, put)
        assert counts["workload_listeners"] == 1
        assert counts.keys() <= {"access_rules_for", "access", "workload_listeners", "listener", "findings"}
        gone = runs(small, ConfigGone(put.document.key))
        assert gone["workload_listeners"] == 1


def test_a_policy_that_is_asked_for_the_same_costs_no_listener() -> None:
    """Another label of a selector that selects the same, say."""
    plane = mesh(6)
    runs(plane, ConfigPut(policy("{action: DENY, rules: [{}]}")))
    assert "listener" not in runs(plane, ConfigPut(policy("{action: DENY, selector: {}, rules: [{}]}")))


def test_a_listener_names_the_documents_that_it_is_made_of() -> None:
    """So that one that a proxy refuses is found; what one document says is no news about another."""
    plane = mesh(2)
    plane.told(policy("{action: DENY, rules: [{}]}"), policy("{rules: [{}]}", name="q"))
    before = listener_origins(plane)
    assert {each.document.name for each in before} == {"p", "q"}
    plane.told(policy("{action: DENY, rules: [{}, {}]}"))
    assert {each.document.name for each in listener_origins(plane) - before} == {"p"}


def listener_origins(plane: Plane) -> set[Contribution]:
    _, own = plane.pusher.groups(workload_key("w0"))
    (found,) = (each for each in own[ResourceType.LISTENER].resources.values() if each.origins)
    return {each for each in found.origins if isinstance(each, Contribution)}
