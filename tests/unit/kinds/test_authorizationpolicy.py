"""AuthorizationPolicy: what its values mean."""

import msgspec
import pytest
import yaml

from core.ir.access import (
    AccessRule,
    Address,
    Clause,
    Header,
    Identity,
    Never,
    Operation,
    Port,
    ServerName,
    Source,
    Suffix,
    UrlPath,
    What,
    Who,
)
from core.ir.lowered import Rule
from core.ir.values import Exact, Prefix, Present, Regex
from core.kinds.registry import lower
from core.kinds.security.authorizationpolicy import NOBODY
from core.manager.testing.facts import documents
from core.model.labels import Labels
from core.model.mesh import Mesh

MESH = Mesh()


def lowered(spec: str, *, annotation: str = "", mesh: Mesh = MESH) -> AccessRule:
    metadata = {"name": "a", "namespace": "shop", "annotations": {"istio.io/dry-run": annotation} if annotation else {}}
    header = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata}
    (document,) = documents(yaml.safe_dump({**header, "spec": yaml.safe_load(spec)}))
    (rule,) = lower(document, mesh).rules
    assert isinstance(rule, AccessRule)
    return rule


def source(field: str, value: str, *, mesh: Mesh = MESH) -> Source:
    rule = lowered(f"{{rules: [{{from: [{{source: {{{field}: ['{value}']}}}}]}}]}}", mesh=mesh)
    (((who,),),) = (rule.clauses[0].sources,)
    return who.any_of[0]


def operation(field: str, value: str) -> Operation:
    rule = lowered(f"{{rules: [{{to: [{{operation: {{{field}: ['{value}']}}}}]}}]}}")
    (((what,),),) = (rule.clauses[0].operations,)
    return what.any_of[0]


def test_who_it_is_for_and_what_follows() -> None:
    rule = lowered("{selector: {matchLabels: {app: a}}, action: DENY, rules: [{}]}", annotation="true")
    assert (rule.namespace, rule.labels, rule.action, rule.dry_run) == ("shop", Labels.of({"app": "a"}), "DENY", True)
    assert rule.clauses == (Clause(),)


def test_no_rules_allow_nobody_and_an_empty_rule_everybody() -> None:
    assert lowered("{}").clauses == (Clause(sources=(), operations=()),)
    assert lowered("{rules: [{}]}").clauses == (Clause(sources=((),), operations=((),)),)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("principals", "a.b/ns/x/sa/y", Identity(Exact("spiffe://a.b/ns/x/sa/y"))),
        ("principals", "a.b/ns/x*", Identity(Prefix("spiffe://a.b/ns/x"))),
        ("principals", "*/sa/y", Identity(Regex("spiffe://.*/sa/y"))),
        ("principals", "*", Identity(Regex(".+"))),
        ("namespaces", "x.y", Identity(Regex(r"spiffe://[^/]+/ns/x\.y/.*"))),
        ("namespaces", "x*", Identity(Regex("spiffe://[^/]+/ns/x[^/]*/.*"))),
        ("serviceAccounts", "y", Identity(Regex("spiffe://[^/]+/ns/shop/sa/y"))),
        ("serviceAccounts", "x/y", Identity(Regex("spiffe://[^/]+/ns/x/sa/y"))),
        ("trustDomains", "a", Identity(Regex("spiffe://a/.*"))),
        ("ipBlocks", "10.1.2.3", Address("10.1.2.3/32")),
        ("ipBlocks", "10.1.2.3/8", Address("10.0.0.0/8")),
        ("ipBlocks", "::ffff:10.0.0.0/104", Address("10.0.0.0/8")),
        ("ipBlocks", "::ffff:10.1.2.3", Address("10.1.2.3/32")),
        ("ipBlocks", "::/0", Address("::/0")),
        ("remoteIpBlocks", "2001:DB8::/32", Address("2001:db8::/32", "request")),
        ("requestPrincipals", "*", Never()),
    ],
)
def test_who_calls(field: str, value: str, expected: Source) -> None:
    assert source(field, value) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("methods", "GET", Header(":method", Exact("GET"))),
        ("methods", "P*", Header(":method", Prefix("P"))),
        ("hosts", "*", Header(":authority", Present())),
        ("hosts", "a.com", Header(":authority", Regex(r"(?i)([^@]*@)?a\.com\.*(:[0-9]*)?"))),
        ("hosts", "a.com:80", Header(":authority", Regex(r"(?i)([^@]*@)?a\.com:80"))),
        ("hosts", "*.a.com", Header(":authority", Regex(r"(?i).*\.a\.com\.*(:[0-9]*)?"))),
        ("hosts", "a.*", Header(":authority", Regex(r"(?i)([^@]*@)?a\..*"))),
        ("paths", "/a", UrlPath(Exact("/a"))),
        ("paths", "/a*", UrlPath(Prefix("/a"))),
        ("paths", "*a", UrlPath(Suffix("a"))),
        ("paths", "*", UrlPath(Regex(".+"))),
        ("paths", "/a.b/{*}/{**}", UrlPath(Regex(r"/a\.b/[^/]+/.*"))),
        ("ports", "80", Port(80)),
    ],
)
def test_what_is_called(field: str, value: str, expected: Operation) -> None:
    assert operation(field, value) == expected


def test_conditions_hold_beside_every_alternative() -> None:
    """Those of who calls with the sources, the others with the operations; header names have no case."""
    rule = lowered("""
        rules:
        - from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}]
          when:
          - {key: source.ip, notValues: [10.0.0.1]}
          - {key: "request.headers[X-A]", values: ["*"]}
          - {key: connection.sni, values: ["*.a"], notValues: [b.a]}
    """)
    (clause,) = rule.clauses
    here = Who(none_of=(Address("10.0.0.1/32"),))
    assert [each[1:] for each in clause.sources] == [(here,), (here,)]
    sni = What(any_of=(ServerName(Suffix(".a")),), none_of=(ServerName(Exact("b.a")),))
    assert clause.operations == ((What(any_of=(Header("x-a", Present()),)), sni),)


@pytest.mark.parametrize(
    ("spec", "action", "labels", "clause"),
    [
        ("{selector: {matchLabels: {app: a}}, rules: [{form: []}]}", "ALLOW", {"app": "a"}, NOBODY),
        ("{selector: {matchLabels: {app: a}}, action: DENY, rules: [{from: []}]}", "DENY", {"app": "a"}, Clause()),
        ("{selector: {matchLabels: {app: a}}, action: CUSTOM, rules: [{}]}", "DENY", {"app": "a"}, Clause()),
        ("{selector: {matchLabels: {app: 'a*'}}, rules: [{}]}", "ALLOW", {}, NOBODY),
        ("{selector: {matchLabels: {app: 'a b'}}, rules: [{}]}", "ALLOW", {}, NOBODY),
        ("[]", "ALLOW", {}, NOBODY),
    ],
)
def test_a_mistake_lets_nobody_in(spec: str, action: str, labels: dict[str, str], clause: Clause) -> None:
    """A store may have taken the document before this was a mistake; whom it is for is believed where that is sound."""
    (rule,) = instead(spec)
    assert isinstance(rule, AccessRule)
    assert (rule.action, rule.labels, rule.clauses) == (action, Labels.of(labels), (clause,))


@pytest.mark.parametrize(
    "spec",
    [
        "{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}], rules: [{}]}",
        "{action: AUDIT, rules: []}",
    ],
)
def test_a_mistake_about_nobody_s_calls_is_no_rule(spec: str) -> None:
    assert instead(spec) == ()


def instead(spec: str) -> tuple[Rule, ...]:
    header = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}}
    (document,) = documents(yaml.safe_dump({**header, "spec": {}}))
    found = lower(msgspec.structs.replace(document, spec=msgspec.json.encode(yaml.safe_load(spec))), MESH)
    assert found.rules == ()
    return found.instead


def test_cluster_local_is_the_own_trust_domain() -> None:
    """Whatever that is called (Istio)."""
    mesh = Mesh(trust_domain="td")
    assert source("principals", "cluster.local/ns/a/sa/b", mesh=mesh) == Identity(Exact("spiffe://td/ns/a/sa/b"))
    assert source("principals", "other/ns/a/sa/b", mesh=mesh) == Identity(Exact("spiffe://other/ns/a/sa/b"))
