"""Which mode of mutual TLS holds for whom, and what callers make of it."""

import msgspec
import pytest

from core.compiler.chains import Terms, declared, undeclared
from core.compiler.inbound import inbound_listeners, inbound_upstreams
from core.compiler.peers import peers
from core.compiler.upstreams import load_assignments, upstreams
from core.ir.security import MutualTls
from core.manager.testing.facts import Fact, Plane, document, documents, instance, service, service_key, workload
from core.model.change import InstanceGone
from core.model.config import Document
from core.model.labels import NO_LABELS, Labels
from core.model.protocol import Protocol
from core.model.service import InstanceKey, Port
from core.model.workload import Redirected
from core.view.listener import HttpChain
from core.view.security import Automatic, MeshServer, NoTls, Originate
from core.view.upstream import OriginalDestination, Upstream

ROOT = "istio-system"
APP = Labels.of({"app": "a"})


def rule(spec: str, *, namespace: str = "default", name: str = "a", created: float = 0.0) -> Document:
    text = f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\nspec: {spec}"
    (found,) = documents(text, namespace=namespace)
    return msgspec.structs.replace(found, created=created)


def whole(mode: str, *, namespace: str = "default", name: str = "a", created: float = 0.0) -> Document:
    return rule(f"{{mtls: {{mode: {mode}}}}}", namespace=namespace, name=name, created=created)


def mode(plane: Plane, *, labels: Labels = NO_LABELS, port: int = 80) -> MutualTls:
    return peers(plane.world.inputs, "default").at(labels, port)


# -- precedence --------------------------------------------------------------------------------------------------------


def test_without_rules_both_are_taken() -> None:
    assert mode(Plane()) == "PERMISSIVE"


def test_a_namespace_comes_before_the_mesh() -> None:
    """A rule of another namespace is nobody's business here."""
    strict = whole("STRICT", namespace=ROOT)
    assert mode(Plane(strict)) == "STRICT"
    assert mode(Plane(strict, whole("DISABLE"))) == "DISABLE"
    assert mode(Plane(whole("DISABLE", namespace="shop"))) == "PERMISSIVE"


def test_what_is_unset_is_as_in_the_next_wider_place() -> None:
    ports = "{'80': {mode: UNSET}, '81': {mode: DISABLE}}"
    some = rule(f"{{selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {ports}}}", name="b")
    plane = Plane(whole("STRICT", namespace=ROOT), whole("UNSET"), some)
    assert mode(plane) == "STRICT"
    assert [mode(plane, labels=APP, port=port) for port in (80, 81, 82)] == ["STRICT", "DISABLE", "STRICT"]


def test_the_oldest_of_several_decides() -> None:
    """Then the first by name; it does not matter in which order they came."""
    old, new = whole("STRICT", name="z", created=1.0), whole("DISABLE", created=2.0)
    for facts in ((old, new), (new, old)):
        assert mode(Plane(*facts)) == "STRICT"
    assert mode(Plane(whole("DISABLE", name="b"), whole("STRICT", name="a"))) == "STRICT"


def test_a_rule_for_some_workloads_is_for_no_others() -> None:
    """In the root namespace, too: there it is for workloads of that namespace."""
    some = "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}"
    assert mode(Plane(rule(some)), labels=APP) == "STRICT"
    assert mode(Plane(rule(some))) == "PERMISSIVE"
    assert mode(Plane(rule(some, namespace=ROOT)), labels=APP) == "PERMISSIVE"


# -- callers -----------------------------------------------------------------------------------------------------------


def called(plane: Plane, name: str = "s") -> Upstream:
    (found,) = upstreams(plane.world.inputs, "default", service_key(name))
    return found


def identities(plane: Plane) -> list[str]:
    security = called(plane).security
    assert isinstance(security, Automatic)
    return [each.path.rpartition("/")[2] for each in security.mesh.identities]


def test_callers_expect_whoever_is_there() -> None:
    """Each identity once, in order; those that went are not expected any more."""
    plane = Plane(service("s"), *(instance("s", f"10.0.0.{i}", account=name) for i, name in enumerate("bab")))
    assert identities(plane) == ["a", "b"]
    plane.pusher.apply(InstanceGone(InstanceKey(service_key("s"), "10.0.0.1")))
    assert identities(plane) == ["b"]
    plane.pusher.apply(InstanceGone(InstanceKey(service_key("s"), "10.0.0.0")))
    assert identities(plane) == ["b"]
    plane.told(instance("s", "10.0.0.2", account="c"))
    assert identities(plane) == ["c"]
    plane.told(instance("s", "10.0.0.2"))
    assert identities(plane) == []


def test_what_is_inside_is_told_by_alpn() -> None:
    """Where HTTP and bytes share an upstream it says HTTP, and bytes say otherwise by themselves."""
    plane = Plane(
        *(service(name, f"80/{name}" if name != "auto" else "80") for name in ("http", "grpc", "tcp", "auto"))
    )
    offered = {}
    for name in ("http", "grpc", "tcp", "auto"):
        security = called(plane, name).security
        assert isinstance(security, Automatic)
        offered[name] = security.mesh.protocols
    assert offered == {
        "http": ("istio-http/1.1", "istio"),
        "grpc": ("istio-h2", "istio", "h2"),
        "tcp": ("istio-peer-exchange", "istio"),
        "auto": ("istio-http/1.1", "istio-h2", "istio"),
    }


@pytest.mark.parametrize(("said", "mutual"), [("DISABLE", False), ("PERMISSIVE", True), ("STRICT", True)])
def test_endpoints_follow_the_rules_of_who_is_called(said: str, mutual: bool) -> None:
    """Of the very port, though callers know another one; those without a proxy have none of it."""
    text = f"{{selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {{'80': {{mode: {said}}}}}}}"
    with_proxy = instance("s", "10.0.0.1", account="a", labels={"app": "a"})
    plane = Plane(service("s"), rule(text), with_proxy, instance("s", "10.0.0.2", labels={"app": "a"}))
    (assignment,) = load_assignments(plane.world.inputs, "default", service_key("s"))
    found = {each.address: each.mutual for place in assignment.localities for each in place.endpoints}
    assert found == {"10.0.0.1": mutual, "10.0.0.2": False}


def test_a_rule_about_bytes_over_tls_names_the_service() -> None:
    """HTTP names the host of each request instead."""
    simple = {"trafficPolicy": {"tls": {"mode": "SIMPLE"}}}
    rules = [document("DestinationRule", name, {"host": name, **simple}) for name in ("t", "h")]
    plane = Plane(service("t", "80/tcp"), service("h", "80/http"), *rules)
    assert called(plane, "t").security == Originate(sni="t.default.svc.cluster.local")
    assert called(plane, "h").security == Originate()


def test_a_mesh_may_do_without_mutual_tls() -> None:
    text = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n"
    (off,) = documents(text + "spec: {enableAutoMtls: false}", namespace=ROOT)
    assert called(Plane(service("s"), off)).security == NoTls()


# -- chains ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "counts"),
    [
        (Protocol.HTTP, {"PERMISSIVE": (1, 1), "STRICT": (1, 0), "DISABLE": (0, 1)}),
        (Protocol.GRPC, {"PERMISSIVE": (1, 1), "STRICT": (1, 0), "DISABLE": (0, 1)}),
        (Protocol.TCP, {"PERMISSIVE": (1, 2), "STRICT": (1, 0), "DISABLE": (0, 1)}),
        (Protocol.AUTO, {"PERMISSIVE": (2, 3), "STRICT": (2, 0), "DISABLE": (0, 2)}),
    ],
)
def test_chains_are_as_istio_has_them(protocol: Protocol, counts: dict[MutualTls, tuple[int, int]]) -> None:
    """So many with mutual TLS, and so many without; HTTP is never served where HTTP is not spoken."""
    for said, wanted in counts.items():
        chains = declared(8080, Port("p", 80, protocol), Terms(said))
        secured = [isinstance(chain.security, MeshServer) for chain in chains]
        assert (sum(secured), len(secured) - sum(secured)) == wanted
        assert len({chain.match for chain in chains}) == len(chains)
        if protocol is Protocol.TCP:
            assert not any(isinstance(chain.serve, HttpChain) for chain in chains)


def test_ports_that_nobody_declared_are_as_undeclared_ones() -> None:
    """They lead to wherever the connection was meant to go."""
    assert {chain.name for chain in undeclared(Terms("STRICT"))} == {
        "virtualInbound-catchall-http",
        "virtualInbound-catchall-tcp",
    }


# -- capture redirect --------------------------------------------------------------------------------------------------


def captured(*facts: Fact, capture: Redirected | None = None) -> Plane:
    one = msgspec.structs.replace(workload("w", labels={"app": "a"}), capture=capture or Redirected())
    there = instance("s", "127.16.0.1", workload="w", account="a", labels={"app": "a"})
    return Plane(service("s", "80/http"), there, one, *facts)


def test_one_listener_has_the_chains_of_all_ports() -> None:
    """By the port that was meant; its own port leads nowhere, and every other one to the application."""
    plane = captured(
        whole("STRICT"),
        rule("{selector: {matchLabels: {app: a}}, portLevelMtls: {'7777': {mode: DISABLE}}}", name="b"),
    )
    (listener,) = inbound_listeners(plane.world.inputs, workload("w").key)
    by_port: dict[int, int] = {}
    for chain in listener.chains:
        by_port[chain.match.port] = by_port.get(chain.match.port, 0) + 1
    assert (listener.name, listener.original, by_port) == ("virtualInbound", True, {15006: 1, 80: 1, 7777: 2, 0: 2})


@pytest.mark.parametrize("mode", ["DISABLE", "PERMISSIVE", "STRICT"])
def test_the_proxys_own_port_leads_nowhere_whatever_anybody_declares(mode: MutualTls) -> None:
    """A rule or a service may name it. Envoy refuses two chains with one match, and the whole listener with them."""
    plane = captured(
        service("t", "15006/tcp"),
        instance("t", "127.16.0.1", workload="w", account="a", labels={"app": "a"}),
        rule(f"{{selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {{'15006': {{mode: {mode}}}}}}}", name="b"),
    )
    (listener,) = inbound_listeners(plane.world.inputs, workload("w").key)
    (own,) = [chain.name for chain in listener.chains if chain.match.port == 15006]
    assert own == "virtualInbound-blackhole"
    assert len({chain.match for chain in listener.chains}) == len(listener.chains)


def test_the_application_is_called_from_an_address_that_rules_let_pass() -> None:
    """With TPROXY from the caller's own, so that only the mark is left to know such connections by."""
    plain = inbound_upstreams(captured(capture=Redirected(mark=1337)).world.inputs, workload("w").key)
    assert {each.endpoints for each in plain} == {OriginalDestination(source="127.0.0.6")}
    assert [each.name for each in plain] == ["inbound|80||", "InboundPassthroughCluster"]
    plane = captured(capture=Redirected(transparent=True, mark=1336, tproxy_mark=1337))
    found = inbound_upstreams(plane.world.inputs, workload("w").key)
    assert {each.endpoints for each in found} == {OriginalDestination(mark=1337)}
    (listener,) = inbound_listeners(plane.world.inputs, workload("w").key)
    assert (listener.transparent, listener.mark) == (True, 1337)


# -- findings ----------------------------------------------------------------------------------------------------------


def codes(plane: Plane, said: Document) -> list[str]:
    plane.told(said)
    return [found.code for found in plane.pusher.diagnostics(said.key)]


def tls(mode: str) -> Document:
    return document("DestinationRule", "d", {"host": "s", "trafficPolicy": {"tls": {"mode": mode}}})


def test_callers_that_want_something_else_are_found() -> None:
    """Where all is well there is nothing to find."""
    there = instance("s", "10.0.0.1", workload="w", account="a")
    assert codes(Plane(service("s"), there, whole("STRICT")), tls("DISABLE")) == ["IST0113"]
    assert codes(Plane(service("s"), there), tls("DISABLE")) == []
    assert codes(Plane(service("s"), there, whole("STRICT")), tls("ISTIO_MUTUAL")) == []
    assert codes(Plane(service("s"), there, instance("s", "10.0.0.2")), tls("ISTIO_MUTUAL")) == ["IST0113"]


def test_a_rule_for_nobody_is_found() -> None:
    """Until somebody comes."""
    some = rule("{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}")
    plane = Plane(workload("w", labels={"app": "b"}))
    assert codes(plane, some) == ["IST0127"]
    plane.told(workload("v", labels={"app": "a"}))
    assert plane.pusher.diagnostics(some.key) == ()
    assert codes(Plane(), whole("STRICT")) == []
