"""Gateways beside other documents: who has which port and host, what is held back, and what is said about it."""

import msgspec
import pytest

from core.compiler.gateways import intersection
from core.compiler.view import ProxyView
from core.diagnostics import Diagnostic
from core.ir.values import Redirect
from core.manager.testing.facts import Fact, Plane, document, gateway, instance, service, workload, workload_key
from core.model.config import ConfigKey, Document
from core.model.labels import Labels
from core.model.secret import Secret, SecretKey
from core.model.workload import EntryPort
from core.view.listener import HttpChain, Listener, NamedRoutes
from core.view.security import Terminate
from istioctl.testing.certificates import made, some

INGRESS = workload_key("ingress")
REVIEWS = (service("reviews", "9080/http"), instance("reviews", "127.16.0.3"))


def server(port: int, *hosts: str, secret: str = "", name: str = "", mutual: bool = False) -> dict[str, object]:
    """Plain HTTP without a secret."""
    protocol = "HTTPS" if secret else "HTTP"
    spec: dict[str, object] = {
        "port": {"number": port, "name": name or f"p{port}", "protocol": protocol},
        "hosts": list(hosts or ("*",)),
    }
    if secret:
        spec["tls"] = {"mode": "MUTUAL" if mutual else "SIMPLE", "credentialName": secret}
    return spec


def opens(name: str, *servers: dict[str, object], selector: str = "ingressgateway", created: float = 0.0) -> Document:
    made = document("Gateway", name, {"selector": {"istio": selector}, "servers": list(servers)})
    return msgspec.structs.replace(made, created=created)


def routes(name: str, *hosts: str, gateways: tuple[str, ...] = ("web",), to: str = "reviews") -> Document:
    http = [{"route": [{"destination": {"host": to}}]}]
    return document("VirtualService", name, {"hosts": list(hosts), "gateways": list(gateways), "http": http})


def view(plane: Plane, key: str = "ingress") -> ProxyView:
    return ProxyView(plane.world.inputs, workload_key(key))


def route_names(listener: Listener) -> list[str]:
    chains = [chain.serve for chain in listener.chains]
    return [
        chain.routes.name for chain in chains if isinstance(chain, HttpChain) and isinstance(chain.routes, NamedRoutes)
    ]


def hosts(plane: Plane, routes: str = "http.80") -> dict[str, str]:
    """The hosts of a route configuration, and the document behind the first route of each."""
    found = view(plane).routes(routes)
    assert found is not None
    origins = {host.domains[0]: host.routes[0].origin for host in found.virtual_hosts}
    return {host: origin.config.name if origin else "" for host, origin in origins.items()}


def said(plane: Plane, name: str, kind: str = "Gateway") -> list[tuple[str, str, str]]:
    found: tuple[Diagnostic, ...] = plane.pusher.diagnostics(ConfigKey("networking.istio.io", kind, "default", name))
    return [(each.code, each.origin.path if each.origin else "", each.message) for each in found]


def codes(plane: Plane, name: str, kind: str = "Gateway") -> list[tuple[str, str]]:
    return [(code, path) for code, path, _ in said(plane, name, kind)]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a.com", "a.com", "a.com"),
        ("a.com", "b.com", ""),
        ("*", "*", "*"),
        ("*", "a.com", "a.com"),
        ("*.com", "a.com", "a.com"),
        ("*.com", "*.a.com", "*.a.com"),
        ("*.a.com", "a.com", ""),
        ("*.a.com", "*.b.com", ""),
        ("*.a.com", "xa.com", ""),
    ],
)
def test_hosts_in_common(one: str, other: str, both: str) -> None:
    """The smaller set where it lies within the larger, whichever comes first."""
    assert intersection(one, other) == intersection(other, one) == both


def test_a_gateway_has_what_documents_open_and_nothing_of_a_sidecar() -> None:
    """No document, no listener; and never one that an application would use."""
    plane = Plane(*REVIEWS, gateway("ingress"))
    assert view(plane).listeners() == ()
    plane.told(opens("web", server(80)))
    (listener,) = view(plane).listeners()
    assert (listener.name, route_names(listener)) == ("127.0.0.1_8080", ["http.80"])
    assert {name.partition("|")[0] for name in view(plane).upstreams()} == {
        "outbound", "PassthroughCluster", "BlackHoleCluster",
    }  # fmt: skip


def test_documents_select_gateways_by_labels_in_all_namespaces() -> None:
    """Not sidecars with the same labels, and not gateways with others."""
    labels = {"istio": "ingressgateway"}
    plane = Plane(
        gateway("ingress.shop"), gateway("egress", number=201, labels={"istio": "egress"}),
        workload("reviews", labels=labels), opens("web", server(80)),
    )  # fmt: skip
    assert len(view(plane, "ingress.shop").listeners()) == 1
    assert view(plane, "egress").listeners() == ()
    names = [listener.name for listener in view(plane, "reviews").listeners()]
    assert "127.0.0.1_8080" not in names


def test_a_selector_that_changes() -> None:
    """The listener goes where the labels are."""
    plane = Plane(gateway("ingress"), opens("web", server(80)))
    plane.told(opens("web", server(80), selector="other"))
    assert view(plane).listeners() == ()
    assert codes(plane, "web") == [("IST0101", "spec.selector")]
    plane.told(gateway("other", number=201, labels={"istio": "other"}))
    assert codes(plane, "web") == []


def test_plain_servers_of_several_documents_share_their_hosts() -> None:
    """Every rule is found under the gateway that it names."""
    plane = Plane(
        *REVIEWS, gateway("ingress"), opens("web", server(80, "a.com")), opens("other", server(80, "a.com", "*.b.com")),
        routes("one", "a.com"), routes("two", "x.b.com", gateways=("other",)), routes("three", "y.b.com"),
    )  # fmt: skip
    assert hosts(plane) == {"a.com": "one", "x.b.com": "two"}
    assert codes(plane, "web") == codes(plane, "other") == []
    assert codes(plane, "three", "VirtualService") == [("IST0132", "spec.hosts[0]")]


def test_the_oldest_has_the_port() -> None:
    """A port is plain or has TLS, as the oldest document says; the other one is told."""
    plane = Plane(
        gateway("ingress"), some().secret(SecretKey("default", "cert")),
        opens("young", server(80, secret="cert"), created=2.0), opens("old", server(80), created=1.0),
    )  # fmt: skip
    (listener,) = view(plane).listeners()
    assert route_names(listener) == ["http.80"]
    assert codes(plane, "old") == []
    ((code, path, message),) = said(plane, "young")
    assert (code, path) == ("IST0145", "spec.servers[0].port")
    assert "default/old" in message


def test_the_oldest_has_the_host() -> None:
    """With TLS a host belongs to one server; the rest of the younger one is in force."""
    plane = Plane(
        gateway("ingress"), some().secret(SecretKey("default", "cert")),
        opens("young", server(443, "a.com", "b.com", secret="cert"), created=2.0),
        opens("old", server(443, "a.com", secret="cert"), created=1.0),
    )  # fmt: skip
    (listener,) = view(plane).listeners()
    assert [chain.match.server_names for chain in listener.chains] == [("a.com",), ("b.com",)]
    assert route_names(listener) == ["https.443.p443.old.default", "https.443.p443.young.default"]
    ((code, path, message),) = said(plane, "young")
    assert (code, path) == ("IST0145", "spec.servers[0].hosts")
    assert "'a.com'" in message


def test_a_port_that_the_gateway_does_not_open() -> None:
    """It is told, with the ports there are."""
    plane = Plane(gateway("ingress"), opens("web", server(8081), server(80)))
    ((code, path, message),) = said(plane, "web")
    assert (code, path) == ("IST0162", "spec.servers[0].port.number")
    assert "80, 443" in message


def test_a_server_waits_for_its_secret() -> None:
    """Until the secret is there its server is not, and others are; a secret of another namespace is none."""
    plane = Plane(
        gateway("ingress"), some().secret(SecretKey("shop", "cert")),
        opens("web", server(80), server(443, "a.com", secret="cert")),
    )  # fmt: skip
    assert [listener.name for listener in view(plane).listeners()] == ["127.0.0.1_8080"]
    assert codes(plane, "web") == [("IST0161", "spec.servers[1].tls.credentialName")]
    assert "default/cert does not exist" in said(plane, "web")[0][2]
    plane.told(some().secret(SecretKey("default", "cert")))
    assert [listener.name for listener in view(plane).listeners()] == ["127.0.0.1_8080", "127.0.0.1_8443"]
    assert [shown.name for shown in view(plane).secrets()] == ["kubernetes://cert"]
    assert codes(plane, "web") == []


def test_mutual_needs_roots() -> None:
    """A secret without roots does for SIMPLE only."""
    pair, key = made("a.com"), SecretKey("default", "cert")
    rootless = Secret(name=key, chain=pair.certificate, key=pair.secret(key).key)
    plane = Plane(gateway("ingress"), rootless, opens("web", server(443, "a.com", secret="cert", mutual=True)))
    assert view(plane).listeners() == ()
    assert "has no roots" in said(plane, "web")[0][2]
    plane.told(pair.secret(key))
    (listener,) = view(plane).listeners()
    assert listener.chains[0].security == Terminate(secret="kubernetes://cert", roots="kubernetes://cert-cacert")


def test_a_bad_secret_changes_nothing() -> None:
    """The last good one stays, and what is wrong is told without a word of the key."""
    pair, key = made("a.com"), SecretKey("default", "cert")
    plane = Plane(gateway("ingress"), pair.secret(key), opens("web", server(443, "a.com", secret="cert")))
    before = view(plane).secrets()
    other = made("b.com")
    plane.told(Secret(name=key, chain=other.certificate, key=pair.secret(key).key))
    assert view(plane).secrets() == before
    ((code, _, message),) = said(plane, "web")
    assert code == "IST0161"
    assert "does not belong" in message
    plane.told(Secret(name=key, problem="web.key cannot be read: Permission denied"))
    assert "Permission denied" in said(plane, "web")[0][2]
    plane.told(other.secret(key))
    assert view(plane).secrets() != before
    assert codes(plane, "web") == []


def test_a_redirect_leads_to_where_clients_find_https() -> None:
    """To the port that they use for the gateway's server with TLS; 443 is left out, as they do."""
    moved = {**server(80, "a.com"), "tls": {"httpsRedirect": True}}
    secure = server(443, "a.com", secret="cert")
    plane = Plane(gateway("ingress"), some().secret(SecretKey("default", "cert")), opens("web", moved, secure))
    assert redirect(plane) == Redirect(scheme="https", port=8443)
    usual = msgspec.structs.replace(
        gateway("ingress"), ports=(EntryPort(80, "10.0.0.1", 8080), EntryPort(443, "10.0.0.1", 8443))
    )
    plane.told(usual)
    assert redirect(plane) == Redirect(scheme="https")


def redirect(plane: Plane) -> object:
    found = view(plane).routes("http.80")
    assert found is not None
    ((route,),) = (host.routes for host in found.virtual_hosts)
    return route.action


def test_rules_that_name_no_gateway() -> None:
    """A gateway that does not exist is told where it is named, also within a match."""
    spec = {
        "hosts": ["a.com"],
        "gateways": ["mesh", "nobody"],
        "http": [{"match": [{"gateways": ["shop/none"]}], "directResponse": {"status": 200}}],
    }
    plane = Plane(document("VirtualService", "lost", spec))
    paths = ["spec.gateways[1]", "spec.http[0].match[0].gateways[0]"]
    assert codes(plane, "lost", "VirtualService") == [("IST0101", path) for path in paths]


def test_a_rule_that_is_not_exported_to_the_gateway() -> None:
    """`exportTo` is about the namespace of the gateway's workload."""
    spec = {
        "hosts": ["a.com"],
        "gateways": ["web"],
        "exportTo": ["shop"],
        "http": [{"directResponse": {"status": 200}}],
    }
    plane = Plane(gateway("ingress"), opens("web", server(80)), document("VirtualService", "hidden", spec))
    assert hosts(plane) == {}


def test_what_a_change_costs() -> None:
    """A new certificate is encoded, and nothing else; a rule costs its own host, however many there are."""
    pair, key = made("a.com"), SecretKey("default", "cert")
    rules = [routes(f"r{i}", f"h{i}.com") for i in range(50)]
    plane = Plane(*REVIEWS, gateway("ingress"), pair.secret(key), *rules, opens("web", server(443, secret="cert")))
    plane.connected("ingress")
    assert counted(plane, made("a.com").secret(key)) <= {
        "gateway_listeners", "workload_listeners", "gateway_secrets", "workload_secrets", "secret", "findings",
    }  # fmt: skip
    changed = routes("r7", "h7.com", to="reviews.default.svc.cluster.local")
    with plane.world.inputs.graph.counting() as counts:
        plane.told(msgspec.structs.replace(changed, labels=Labels.of({"a": "b"})))
        plane.told(routes("r7", "h7.com", to="nobody"))
    assert counts["merged"] == 1


def counted(plane: Plane, fact: Fact) -> set[str]:
    with plane.world.inputs.graph.counting() as counts:
        plane.told(fact)
    return {name for name, count in counts.items() if count}
