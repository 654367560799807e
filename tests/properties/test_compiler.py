"""The real compiler, incrementally and from nothing: whatever was changed in whatever order, the result is the same.

Random programs of changes run on a World and a Pusher with proxies attached. After each settling the content of every
proxy's groups has to be what a fresh World and Pusher make of the same facts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from core.compiler.precedence import policy_for, service_for
from core.kinds import meshconfig
from core.manager.pusher import Pusher
from core.manager.world import World
from core.manager.xds.resource import ResourceType
from core.model.change import (
    Change,
    ConfigGone,
    ConfigPut,
    InstanceGone,
    InstancePut,
    SecretGone,
    SecretPut,
    ServiceGone,
    ServicePut,
    WorkloadGone,
    WorkloadPut,
)
from core.model.config import ConfigKey, Document
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.protocol import Protocol
from core.model.secret import SecretKey
from core.model.service import (
    Health,
    Instance,
    InstanceKey,
    Locality,
    Port,
    Service,
    ServiceKey,
    WorkloadKey,
)
from core.model.workload import AppPort, Capture, EntryPort, Explicit, Redirected, Workload
from istioctl.testing.certificates import made

GROUP = "networking.istio.io"
SECURITY = "security.istio.io"
SECURING = ("PeerAuthentication", "AuthorizationPolicy")
SUFFIX = ".svc.cluster.local"
SPACES = ("n1", "n2")
EXTERNAL = ("www.example.com", "api.example.com")
SERVICES = [
    *(ServiceKey(space, f"{name}.{space}{SUFFIX}") for space in SPACES for name in ("a", "b")),
    *(ServiceKey(space, host) for space in SPACES for host in EXTERNAL),
]
WORKLOADS = [WorkloadKey("n1", "w1"), WorkloadKey("n1", "w2"), WorkloadKey("n2", "w3")]
NUMBERS = (80, 8080, 9000)
IDENTITIES = [SpiffeId.of(domain, namespace="n1", service_account="x") for domain in ("cluster.local", "corp.example")]
PROTOCOLS = [*Protocol]


# -- facts -------------------------------------------------------------------------------------------------------------

labels = st.dictionaries(st.sampled_from(["version", "app"]), st.sampled_from(["1", "2"]), max_size=2).map(Labels.of)
created = st.sampled_from([0.0, 1.0, 2.0])
aliases = st.lists(
    st.sampled_from([*EXTERNAL, f"a.n1{SUFFIX}", f"b.n2{SUFFIX}", "alias.example.com", "Alias.example.com", "a"]),
    max_size=2,
    unique=True,
).map(tuple)


def addresses(number: int) -> st.SearchStrategy[tuple[str, ...]]:
    own = f"240.240.0.{number}"
    return st.sampled_from([(), (own,), (own,), ("240.240.0.99",), ("2001:DB8::7", own), ("2001:db8::7",)])


@st.composite
def service(draw: st.DrawFn) -> Change:
    key = draw(st.sampled_from(SERVICES))
    numbers = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True))
    return ServicePut(
        Service(
            key=key,
            name=key.host.partition(".")[0],
            ports=tuple(Port(f"p{number}", number, draw(st.sampled_from(PROTOCOLS))) for number in numbers),
            aliases=draw(aliases),
            addresses=draw(addresses(SERVICES.index(key) + 1)),
            created=draw(created),
        )
    )


localities = st.sampled_from([Locality(), Locality("r1"), Locality("r2", "z")])


@st.composite
def instance(draw: st.DrawFn) -> Change:
    owner, name = draw(st.sampled_from(SERVICES)), draw(st.sampled_from(["i1", "i2"]))
    ports = draw(st.lists(st.sampled_from(NUMBERS), max_size=3, unique=True))
    return InstancePut(
        Instance(
            key=InstanceKey(owner, name),
            address=draw(st.sampled_from(["10.0.0.1", "10.0.0.2"])),
            ports=tuple((f"p{number}", draw(st.sampled_from([number, number, 7000, 15006]))) for number in ports),
            identity=draw(st.sampled_from([None, *IDENTITIES])),
            labels=draw(labels),
            locality=draw(localities),
            weight=draw(st.sampled_from([1, 3])),
            health=draw(st.sampled_from([Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN])),
            workload=draw(st.sampled_from([None, *WORKLOADS])),
        )
    )


@st.composite
def workload(draw: st.DrawFn) -> Change:
    number = draw(st.integers(0, len(WORKLOADS) - 1))
    network = draw(st.sampled_from([None, f"127.64.{8 * number}.0/21"]))
    app_ports = tuple(AppPort(port, f"127.33.0.{number + 1}", port) for port in (*NUMBERS, 7000))
    explicit = Explicit(app_ports=draw(st.sampled_from([(), app_ports])), virtual_network=network)
    captures: list[Capture] = [explicit, explicit, Redirected(), Redirected(dns_port=0)]
    if draw(st.integers(0, 3)) == 0:
        doors = tuple(EntryPort(port, "127.0.0.1", 1000 * number + port) for port in NUMBERS[:2])
        return WorkloadPut(
            Workload(
                key=WORKLOADS[number], address=f"127.17.0.{number + 1}", labels=draw(labels), capture=Explicit(),
                locality=draw(localities), role="gateway", ports=doors,
            )
        )  # fmt: skip
    return WorkloadPut(
        Workload(
            key=WORKLOADS[number],
            address=f"127.17.0.{number + 1}",
            labels=draw(labels),
            locality=draw(localities),
            capture=draw(st.sampled_from(captures)),
        )
    )


# -- documents ---------------------------------------------------------------------------------------------------------

rule_hosts = st.sampled_from(
    ["a", "b", f"a.n1{SUFFIX}", f"b.n2{SUFFIX}", *EXTERNAL, "alias.example.com", "nobody.example.org", "*.example.com",
     f"*.n1{SUFFIX}", "*.com"]
)  # fmt: skip
exact_hosts = st.sampled_from(["a", "b", f"a.n1{SUFFIX}", f"b.n2{SUFFIX}", *EXTERNAL, "alias.example.com", "nowhere"])
exports = st.sampled_from([[], ["*"], ["."], ["n1"], ["n2", "."]])


@st.composite
def destination(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {"host": draw(exact_hosts)}
    if draw(st.booleans()):
        found["subset"] = draw(st.sampled_from(["v1", "v2"]))
    if draw(st.booleans()):
        found["port"] = {"number": draw(st.sampled_from(NUMBERS))}
    return found


@st.composite
def match(draw: st.DrawFn) -> dict[str, object]:
    options: dict[str, st.SearchStrategy[object]] = {
        "uri": st.sampled_from([{"prefix": "/x"}, {"exact": "/y"}]),
        "sourceLabels": st.sampled_from([{"version": "1"}, {"app": "2"}]),
        "sourceNamespace": st.sampled_from(SPACES),
        "port": st.sampled_from(NUMBERS),
        "gateways": st.sampled_from([["mesh"], ["gate"]]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=2, unique=True))
    return {name: draw(options[name]) for name in chosen}


@st.composite
def http_route(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {"match": matches} if (matches := draw(st.lists(match(), max_size=2))) else {}
    if draw(st.integers(0, 4)) == 0:
        return found | {"redirect": {"uri": "/elsewhere"}}
    shares = [{"destination": each, "weight": 50} for each in draw(st.lists(destination(), min_size=1, max_size=2))]
    found["route"] = [{"destination": shares[0]["destination"]}] if len(shares) == 1 else shares
    if draw(st.booleans()):
        found["timeout"] = draw(st.sampled_from(["1s", "2s"]))
    return found


def document(kind: str, space: str, name: str, spec: Mapping[str, object], when: float) -> Change:
    key = ConfigKey(SECURITY if kind in SECURING else GROUP, kind, space, name)
    return ConfigPut(Document(key=key, spec=msgspec.json.encode(spec), created=when))


names = st.tuples(st.sampled_from([*SPACES, "istio-system"]), st.sampled_from(["d1", "d2"]))


@st.composite
def virtual_service(draw: st.DrawFn) -> Change:
    spec: dict[str, object] = {
        "hosts": draw(st.lists(rule_hosts, min_size=1, max_size=2, unique=True)),
        "http": draw(st.lists(http_route(), min_size=1, max_size=3)),
        "exportTo": draw(exports),
    }
    if draw(st.integers(0, 4)) == 0:
        spec["gateways"] = draw(st.sampled_from([["gate"], ["gate", "mesh"]]))
    return document("VirtualService", *draw(names), spec, draw(created))


PARTS = {"distribute": [{"from": "r1/*", "to": {"r1": 30, "r2/*": 70}}, {"from": "r2", "to": {"r2/z": 100}}]}
LABELS = {"failoverPriority": ["version", "topology.kubernetes.io/region", "app=1"]}

policies = st.sampled_from(
    [
        {},
        {"outlierDetection": {}},
        {"outlierDetection": {}, "loadBalancer": {"localityLbSetting": LABELS}},
        {"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"failover": [{"from": "r1", "to": "r2"}]}}},
        {"loadBalancer": {"localityLbSetting": PARTS}},
        {"loadBalancer": {"simple": "RANDOM"}},
        {"loadBalancer": {"simple": "PASSTHROUGH"}},
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
        {"connectionPool": {"tcp": {"maxConnections": 7}}},
        {"tls": {"mode": "DISABLE"}},
        {"tls": {"mode": "ISTIO_MUTUAL"}},
        {"tls": {"mode": "SIMPLE", "sni": "x.example.com"}},
        {"portLevelSettings": [{"port": {"number": 8080}, "tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}]},
        {"portLevelSettings": [{"port": {"number": 80}, "outlierDetection": {"consecutive5xxErrors": 2}}]},
    ]
)


@st.composite
def destination_rule(draw: st.DrawFn) -> Change:
    chosen = draw(st.lists(st.sampled_from(["v1", "v2"]), max_size=2, unique=True))
    subsets = [{"name": name, "labels": {"version": name[1:]}, "trafficPolicy": draw(policies)} for name in chosen]
    spec = {
        "host": draw(rule_hosts),
        "trafficPolicy": draw(policies),
        "subsets": subsets,
        "exportTo": draw(exports),
    }
    return document("DestinationRule", *draw(names), spec, draw(created))


modes = st.sampled_from(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]).map(lambda mode: {"mode": mode})


@st.composite
def peer_authentication(draw: st.DrawFn) -> Change:
    """For everybody or some, with ports that are declared, that nobody declares, and the proxy's own."""
    spec: dict[str, object] = {"mtls": draw(modes)}
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": {"app": draw(st.sampled_from(["1", "2"]))}}
        ports = st.sampled_from(["80", "7000", "7777", "15001", "15006"])
        spec["portLevelMtls"] = draw(st.dictionaries(ports, modes, min_size=1, max_size=3))
    return document("PeerAuthentication", *draw(names), spec, draw(created))


@st.composite
def authorization_policy(draw: st.DrawFn) -> Change:
    """Now and then a mistake: one that denies needs a rule."""
    clauses = [
        {},
        {"to": [{"operation": {"methods": ["GET"]}}]},
        {"from": [{"source": {"principals": ["cluster.local/*"]}}]},
    ]
    spec: dict[str, object] = {
        "action": draw(st.sampled_from(["ALLOW", "DENY", "AUDIT"])),
        "rules": draw(st.lists(st.sampled_from(clauses), max_size=2)),
    }
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": dict(draw(labels))}
    return document("AuthorizationPolicy", *draw(names), spec, draw(created))


@st.composite
def service_entry(draw: st.DrawFn) -> Change:
    """Hosts of platforms and hosts of nobody else, addresses that fall together with others; now and then a mistake."""
    hosts = [*EXTERNAL, f"a.n1{SUFFIX}", "a.n1", "a", "declared.example.org", "*.example.com"]
    numbers = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2, unique=True))
    protocols = st.sampled_from(["HTTP", "GRPC", "TCP", "TLS", ""])
    address = st.sampled_from(["10.0.0.1", "10.0.0.2", "outside.example.com"])
    spec = {
        "hosts": draw(st.lists(st.sampled_from(hosts), min_size=1, max_size=2, unique=True)),
        "addresses": draw(st.sampled_from([[], ["240.240.8.1"], ["240.240.0.2"], ["240.240.16.1", "240.240.0.99"]])),
        "ports": [{"number": number, "name": f"p{number}", "protocol": draw(protocols)} for number in numbers],
        "resolution": draw(st.sampled_from(["STATIC", "DNS"])),
        "endpoints": [
            {
                "address": each,
                "labels": {"version": draw(st.sampled_from(["1", "2"]))},
                "locality": str(draw(localities)),
            }
            for each in draw(st.lists(address, max_size=2))
        ],
        "exportTo": draw(st.sampled_from([[], ["."], ["n2"], ["~"]])),
    }
    return document("ServiceEntry", *draw(names), spec, draw(created))


gateway_hosts = st.sampled_from(
    ["*", *EXTERNAL, "WWW.example.com", "*.example.com", "*.Example.com", "n1/*.com", "./alias.example.com", "10.0.0.1"]
)


@st.composite
def gateway(draw: st.DrawFn) -> Change:
    """Ports and hosts that clash with those of others; secrets that come and go."""
    servers = []
    for i in range(draw(st.integers(1, 3))):
        tls = draw(st.sampled_from([None, None, {"httpsRedirect": True}, {"mode": "SIMPLE"}, {"mode": "MUTUAL"}]))
        secure = tls is not None and "mode" in tls
        credential = {"credentialName": draw(st.sampled_from(["s1", "s2"]))} if secure else {}
        port = {"number": draw(st.sampled_from(NUMBERS)), "name": f"p{i}", "protocol": "HTTPS" if secure else "HTTP"}
        hosts = draw(st.lists(gateway_hosts, min_size=1, max_size=3, unique=True))
        servers.append({"port": port, "hosts": hosts} | ({"tls": {**tls, **credential}} if tls else {}))
    selector = draw(st.sampled_from([{}, {"app": "1"}, {"app": "2", "version": "1"}]))
    spec = {"servers": servers, "selector": selector}
    return document("Gateway", draw(st.sampled_from(SPACES)), "gate", spec, draw(created))


PAIRS = (made("a.example.com"), made("b.example.com"))


@st.composite
def secret(draw: st.DrawFn) -> Change:
    key = SecretKey(draw(st.sampled_from(SPACES)), draw(st.sampled_from(["s1", "s2"])))
    good = draw(st.sampled_from(PAIRS)).secret(key)
    return SecretPut(draw(st.sampled_from([good, msgspec.structs.replace(good, roots=b"")])))


mesh_config = st.sampled_from(
    [
        {},
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        {"connectTimeout": "3s", "accessLogFile": "/dev/stdout"},
        {"domainSuffix": "corp.example"},
        {"trustDomain": "corp.example"},
        {"enableAutoMtls": False},
        {"localityLbSetting": {"enabled": False}},
        {"localityLbSetting": PARTS},
        {"localityLbSetting": LABELS},
    ]
).map(lambda spec: ConfigPut(Document(key=meshconfig.KEY, version="v1alpha1", spec=msgspec.json.encode(spec))))


# -- programs ----------------------------------------------------------------------------------------------------------


class Gone(msgspec.Struct, frozen=True):
    """Something that exists goes; `which` says which, modulo how many there are."""

    which: int


class Attach(msgspec.Struct, frozen=True):
    """The proxy of a workload connects."""

    key: WorkloadKey


class Settle(msgspec.Struct, frozen=True):
    pass


Step = Change | Gone | Attach | Settle

steps = st.one_of(
    service(), service(), instance(), instance(), workload(), virtual_service(), virtual_service(),
    destination_rule(), service_entry(), service_entry(), gateway(), gateway(), secret(),
    peer_authentication(), peer_authentication(), authorization_policy(), authorization_policy(),
    mesh_config, st.builds(Gone, st.integers(0, 50)), st.builds(Gone, st.integers(0, 50)),
    st.builds(Attach, st.sampled_from(WORKLOADS)), st.just(Settle()),
)  # fmt: skip

KINDS: tuple[tuple[type[Any], Callable[[Any], object], Callable[[Any], Change]], ...] = (
    (ServicePut, lambda put: put.service.key, ServiceGone),
    (InstancePut, lambda put: put.instance.key, InstanceGone),
    (WorkloadPut, lambda put: put.workload.key, WorkloadGone),
    (ConfigPut, lambda put: put.document.key, ConfigGone),
    (SecretPut, lambda put: put.secret.name, SecretGone),
)


def opposite(put: Change) -> Change:
    """The change that takes away what `put` said."""
    return next(gone(key(put)) for kind, key, gone in KINDS if isinstance(put, kind))


def place(put: Change) -> tuple[str, object]:
    return next((kind.__name__, key(put)) for kind, key, _ in KINDS if isinstance(put, kind))


Logs = dict[tuple[ResourceType, str], tuple[str, bytes, frozenset[object]]]


class Plane:
    """A World and a Pusher with proxies, which come back for their groups when they are told to."""

    def __init__(self) -> None:
        self.world = World()
        self.pusher = Pusher(self.world)
        self.attached: set[WorkloadKey] = set()
        self.facts: dict[tuple[str, object], Change] = {}
        self.pusher.on_regroup(self.come_back)

    def come_back(self, key: WorkloadKey) -> None:
        if key in self.attached:
            self.pusher.groups(key)

    def apply(self, change: Change) -> None:
        self.pusher.apply(change)
        if any(isinstance(change, kind) for kind, _, _ in KINDS):
            self.facts[place(change)] = change

    def remove(self, which: tuple[str, object]) -> None:
        gone = opposite(self.facts.pop(which))
        if isinstance(gone, WorkloadGone):
            self.attached.discard(gone.key)
        self.pusher.apply(gone)

    def attach(self, key: WorkloadKey) -> None:
        if ("WorkloadPut", key) in self.facts:
            self.attached.add(key)
            self.pusher.groups(key)

    def step(self, step: Step) -> None:
        match step:
            case Settle():
                self.pusher.settle()
            case Attach(key):
                self.attach(key)
            case Gone(which):
                if self.facts:
                    self.remove(sorted(self.facts, key=repr)[which % len(self.facts)])
            case _:
                self.apply(step)

    def logs(self, key: WorkloadKey) -> Logs:
        """All that a proxy is to have: its groups do not overlap."""
        found: Logs = {}
        for group in self.pusher.groups(key):
            for type_, log in group.logs.items():
                for name, resource in log.resources.items():
                    assert (type_, name) not in found, f"{name} is in both groups"
                    found[type_, name] = resource.version, resource.wire(), frozenset(resource.origins)
        return found

    def findings(self) -> dict[object, object]:
        return {key: self.pusher.diagnostics(key) for key in self.world.documents}

    def afresh(self) -> "Plane":
        """The same facts, told to a new World in one go and in another order."""
        fresh = Plane()
        for which in sorted(self.facts, key=repr):
            fresh.apply(self.facts[which])
        for key in sorted(self.attached):
            fresh.attach(key)
        fresh.pusher.settle()
        return fresh


def agree(plane: Plane) -> None:
    fresh = plane.afresh()
    for key in plane.attached:
        mine, wanted = plane.logs(key), fresh.logs(key)
        assert mine.keys() == wanted.keys()
        different = [name for name, content in mine.items() if content != wanted[name]]
        assert not different
    assert plane.findings() == fresh.findings()


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(steps, min_size=5, max_size=40))
def test_every_incremental_state_is_that_of_a_full_compile(program: list[Step]) -> None:
    """After each settling every proxy has what a fresh compile gives it; when all is gone, nothing is kept."""
    plane = Plane()
    for key in WORKLOADS[:2]:
        plane.apply(WorkloadPut(Workload(key=key, address="127.0.0.9", capture=Explicit())))
        plane.attach(key)
    for step in program:
        plane.step(step)
        if isinstance(step, Settle):
            agree(plane)
    plane.pusher.settle()
    agree(plane)
    for key in plane.attached:
        assert_closed(plane, key)
    for which in tuple(plane.facts):
        plane.remove(which)
    plane.pusher.settle()
    assert len(plane.world.inputs.graph) <= 3, list(plane.world.inputs.graph._memos)
    assert not any(plane.pusher.scopes())


# -- what a proxy is given is whole ------------------------------------------------------------------------------------


def decoded(logs: Logs, type_: ResourceType, message: type[Message]) -> dict[str, Any]:
    found = {name: AnyMessage.FromString(body) for (of, name), (_, body, _) in logs.items() if of is type_}
    assert all(envelope.type_url == type_.url for envelope in found.values())
    return {name: message.FromString(envelope.value) for name, envelope in found.items()}


def assert_closed(plane: Plane, key: WorkloadKey) -> None:
    logs = plane.logs(key)
    clusters = decoded(logs, ResourceType.CLUSTER, cluster_pb2.Cluster)
    routes = decoded(logs, ResourceType.ROUTES, route_pb2.RouteConfiguration)
    listeners = decoded(logs, ResourceType.LISTENER, listener_pb2.Listener)
    endpoints = {name for of, name in logs if of is ResourceType.ENDPOINTS}
    discovered = {name for name, cluster in clusters.items() if cluster.type == cluster_pb2.Cluster.EDS}
    assert discovered == endpoints
    for configuration in routes.values():
        assert_no_domain_twice(configuration)
    for listener in listeners.values():
        assert_no_chain_twice(listener)
    named = {name for listener in listeners.values() for name in route_names(listener)}
    assert named <= routes.keys()
    secrets = {name for of, name in logs if of is ResourceType.SECRET}
    assert {name for listener in listeners.values() for name in secret_names(listener)} == secrets
    targets = {name for configuration in routes.values() for name in targets_of(configuration)}
    targets |= {name for listener in listeners.values() for name in tcp_targets(listener)}
    for name in targets - clusters.keys():
        assert not is_known(plane, key, name), f"{name} has no cluster"
    inside = {name for cluster in clusters.values() for name in internal_targets(cluster)}
    assert inside <= listeners.keys()
    binds = [listener.address.SerializeToString() for listener in listeners.values() if listener.HasField("address")]
    assert len(binds) == len(set(binds))


def assert_no_domain_twice(configuration: Any) -> None:
    domains = [domain.lower() for host in configuration.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains)), (configuration.name, sorted(domains))
    hosts = [host.name for host in configuration.virtual_hosts]
    assert len(hosts) == len(set(hosts)), (configuration.name, sorted(hosts))


def assert_no_chain_twice(listener: Any) -> None:
    """Envoy refuses a listener two of whose chains take the same connections, and a DNS table is a set of names."""
    matches = [
        (match.destination_port.value, name, match.transport_protocol, protocol)
        for match in (chain.filter_chain_match for chain in listener.filter_chains)
        for name in (match.server_names or [""])
        for protocol in (match.application_protocols or [""])
    ]
    assert len(matches) == len(set(matches)), (listener.name, matches)
    table = dns_filter_pb2.DnsFilterConfig()
    for each in listener.listener_filters:
        if each.typed_config.Unpack(table):
            known = [domain.name for domain in table.server_config.inline_dns_table.virtual_domains]
            assert len(known) == len(set(known)), known


def filters(listener: Any) -> list[AnyMessage]:
    chains = [
        *listener.filter_chains,
        *([listener.default_filter_chain] if listener.HasField("default_filter_chain") else []),
    ]
    return [each.typed_config for chain in chains for each in chain.filters]


def route_names(listener: Any) -> set[str]:
    manager = http_connection_manager_pb2.HttpConnectionManager()
    return {
        manager.rds.route_config_name for each in filters(listener) if each.Unpack(manager) and manager.HasField("rds")
    }


def secret_names(listener: Any) -> set[str]:
    """Those that are asked for on the stream; the identities of workloads are in files."""
    context = tls_pb2.DownstreamTlsContext()
    found = set()
    for chain in listener.filter_chains:
        if chain.transport_socket.typed_config.Unpack(context):
            common = context.common_tls_context
            asked = [*common.tls_certificate_sds_secret_configs, common.validation_context_sds_secret_config]
            found |= {each.name for each in asked if each.sds_config.HasField("ads")}
    return found


def tcp_targets(listener: Any) -> set[str]:
    proxy = tcp_proxy_pb2.TcpProxy()
    found = set()
    for each in filters(listener):
        if each.Unpack(proxy):
            found |= {proxy.cluster} if proxy.cluster else {share.name for share in proxy.weighted_clusters.clusters}
    return found


def targets_of(configuration: Any) -> set[str]:
    found = set()
    for route in (route for host in configuration.virtual_hosts for route in host.routes):
        action = route.route
        found |= {action.cluster} if action.cluster else {share.name for share in action.weighted_clusters.clusters}
        found |= {mirror.cluster for mirror in action.request_mirror_policies}
    return found - {""}


def internal_targets(cluster: Any) -> set[str]:
    endpoints = (e for locality in cluster.load_assignment.endpoints for e in locality.lb_endpoints)
    addresses = (e.endpoint.address for e in endpoints)
    return {a.envoy_internal_address.server_listener_name for a in addresses if a.HasField("envoy_internal_address")}


def is_known(plane: Plane, key: WorkloadKey, cluster: str) -> bool:
    """Whether a cluster of that name should exist for this caller; a rule may also name what does not exist."""
    direction, port, subset, host = cluster.split("|")
    if direction != "outbound":
        return True
    inputs = plane.world.inputs
    found = service_for(inputs, key.namespace, host)
    declared = found.port(int(port)) if found is not None else None
    if found is None or declared is None or declared.protocol is Protocol.UDP:
        return False
    return not subset or any(each.name == subset for each in policy_for(inputs, key.namespace, found.key).subsets)
