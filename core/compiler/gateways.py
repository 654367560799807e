"""Gateways: which ports a gateway workload opens, for which hosts, with which certificates, and where requests go.

What is looked up beside other documents to report mistakes is in `gateway_findings`.
"""

from collections.abc import Iterator

import msgspec

from core.compiler import names
from core.compiler.access import access
from core.compiler.inputs import Inputs, label_keys
from core.compiler.precedence import visible
from core.compiler.routing import ruled
from core.compiler.scope import Scope
from core.incremental import derived
from core.ir.gateway import GatewayRule, InFiles, ServedHost, Server, Stored, Terminated
from core.ir.routing import ANY_REQUEST, RequestMatch, RouteRule
from core.ir.values import Prefix, Redirect, Regex, Respond
from core.model.config import ConfigKey
from core.model.secret import Sealed, Secret, SecretKey
from core.model.service import WorkloadKey
from core.model.workload import EntryPort
from core.view.access import Check
from core.view.listener import ChainMatch, FilterChain, HttpChain, Listener, NamedRoutes, Socket
from core.view.route import Route, RouteConfiguration, VirtualHost
from core.view.secret import Certificate, InFile, Inline, Roots, Shown
from core.view.security import NO_TLS, ServerSecurity, Terminate


class Served(msgspec.Struct, frozen=True):
    """A server as it is in force on one gateway workload: `hosts` are those that no older one has on this port."""

    gateway: str
    server: Server
    hosts: tuple[ServedHost, ...]


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """Servers on one port that share a route configuration. `https_port`: where clients find those with TLS.

    `elsewhere`: those of their hosts that lie within a wildcard and have another server of their own on this port.
    """

    name: str
    port: int
    served: tuple[Served, ...]
    https_port: int
    elsewhere: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        return any(each.server.tls is not None for each in self.served)

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host.host for each in self.served for host in each.hosts))


Claim = tuple[str, tuple[tuple[ConfigKey, str], ...]]
"""A host, and the rules for it with the gateway that they are for; the oldest first."""


@derived
def gateways_of(inputs: Inputs, key: WorkloadKey) -> tuple[GatewayRule, ...]:
    """The documents that select a gateway workload, the oldest first."""
    workload = inputs.workloads.get(key)
    if workload is None or workload.role != "gateway":
        return ()
    keys = (each for label in label_keys(workload.labels) for each in inputs.gateways_by_label.get(label))
    rules = (inputs.gateways.get(each) for each in keys)
    return tuple(sorted((r for r in rules if r is not None and workload.labels.select(r.selector)), key=rank))


def rank(rule: GatewayRule | RouteRule) -> tuple[float, str, str]:
    key = rule.origin.config
    return rule.created, key.name, key.namespace


# -- who has which port ------------------------------------------------------------------------------------------------


@derived
def served_at(inputs: Inputs, key: WorkloadKey, port: int) -> tuple[Served, ...]:
    """The servers of one port. The first decides whether it has TLS; with TLS every host belongs to one server only."""
    return settled(gateways_of(inputs, key), port)


def settled(rules: tuple[GatewayRule, ...], port: int) -> tuple[Served, ...]:
    """What becomes of the servers that these documents, the oldest first, want on a port."""
    wanted = [(rule.name, server) for rule in rules for server in rule.servers if server.port == port]
    secure = bool(wanted) and wanted[0][1].tls is not None
    found: list[Served] = []
    taken: set[str] = set()
    for gateway, server in wanted:
        if (server.tls is not None) is not secure:
            continue
        left = tuple(host for host in server.hosts if not secure or sni(host) not in taken)
        taken |= {sni(host) for host in left}
        if left:
            found.append(Served(gateway, server, left))
    return tuple(found)


def sni(host: ServedHost) -> str:
    """By which name in the TLS handshake a host is known; addresses are not sent there (RFC 6066 §3)."""
    return "*" if host.host.replace(".", "").isdigit() or ":" in host.host else host.host


@derived
def fronts(inputs: Inputs, key: WorkloadKey) -> tuple[Front, ...]:
    """The route configurations of a gateway workload: one for plain HTTP on a port, one for each server with TLS."""
    workload = inputs.workloads.get(key)
    ports = workload.ports if workload is not None else ()
    at = {entry.port: served_at(inputs, key, entry.port) for entry in ports}
    secure = (e.public or e.port for e in ports if any(each.server.tls is not None for each in at[e.port]))
    https = next(secure, 443)
    return tuple(front for port, served in at.items() for front in _fronts(port, served, https))


def _fronts(port: int, served: tuple[Served, ...], https: int) -> tuple[Front, ...]:
    if served and served[0].server.tls is None:
        return (Front(name=names.gateway_http_routes(port), port=port, served=served, https_port=https),)
    return tuple(_alone(port, each, served, https) for each in served)


def _alone(port: int, one: Served, served: tuple[Served, ...], https: int) -> Front:
    wide = [host.host for host in one.hosts if host.host.startswith("*")]
    others = (host.host for other in served if wide and other is not one for host in other.hosts)
    elsewhere = tuple(host for host in others if any(_within(host, each) for each in wide))
    return Front(name=_https(port, one), port=port, served=(one,), https_port=https, elsewhere=elsewhere)


def _https(port: int, served: Served) -> str:
    return names.gateway_https_routes(port, served.server.name, served.gateway)


# -- listeners ---------------------------------------------------------------------------------------------------------


@derived
def gateway_listeners(inputs: Inputs, key: WorkloadKey) -> tuple[Listener, ...]:
    """One for each port that some server is for. A server whose certificate is missing is left out until it comes."""
    workload = inputs.workloads.get(key)
    ports = workload.ports if workload is not None else ()
    found = ((entry, _chains(inputs, key, entry)) for entry in ports)
    return tuple(_listener(inputs, entry, chains) for entry, chains in found if chains)


def _listener(inputs: Inputs, entry: EntryPort, chains: tuple[FilterChain, ...]) -> Listener:
    return Listener(
        name=names.listener(entry.address, entry.target),
        bind=Socket(entry.address, entry.target),
        direction="outbound",
        chains=chains,
        access_log=inputs.mesh.access_log,
    )


def _chains(inputs: Inputs, key: WorkloadKey, entry: EntryPort) -> tuple[FilterChain, ...]:
    served, checks = served_at(inputs, key, entry.port), access(inputs, key).http
    prefix = f"outbound_{names.listener(entry.address, entry.target)}"
    if served and served[0].server.tls is None:
        return (FilterChain(serve=_http(prefix, names.gateway_http_routes(entry.port), checks)),)
    return tuple(
        FilterChain(
            name=_https(entry.port, each),
            match=ChainMatch(transport="tls", server_names=_server_names(each)),
            security=security,
            serve=_http(prefix, _https(entry.port, each), checks),
        )
        for each in served
        if (security := _security(inputs, key.namespace, each.server)) != NO_TLS
    )


def _http(prefix: str, routes: str, checks: tuple[Check, ...]) -> HttpChain:
    return HttpChain(stat_prefix=prefix, routes=NamedRoutes(routes), edge=True, checks=checks)


def _server_names(served: Served) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(sni(host) for host in served.hosts))
    return () if "*" in found else found


def _security(inputs: Inputs, namespace: str, server: Server) -> ServerSecurity:
    """`NO_TLS` where a chain cannot be served: it has no certificate."""
    tls = server.tls
    if tls is None or not usable(inputs, namespace, tls):
        return NO_TLS
    certificate, roots = _secret_names(tls)
    return Terminate(
        secret=certificate,
        roots=roots if tls.mutual else "",
        min_version=tls.min_version,
        max_version=tls.max_version,
        ciphers=tls.ciphers,
    )


# -- secrets -----------------------------------------------------------------------------------------------------------


def usable(inputs: Inputs, namespace: str, tls: Terminated) -> bool:
    """Whether the certificate of a server on a gateway in `namespace` is there, and the roots if it needs them."""
    if isinstance(tls.certificate, InFiles):
        return True
    secret = inputs.secrets.get(SecretKey(namespace, tls.certificate.name))
    return secret is not None and (bool(secret.roots) or not tls.mutual)


def _secret_names(tls: Terminated) -> tuple[str, str]:
    match tls.certificate:
        case Stored(name):
            return names.stored_secret(name), names.stored_roots(name)
        case InFiles(certificate=certificate, key=key, roots=roots):
            return names.file_secret(certificate, key), names.file_roots(roots)


@derived
def gateway_secrets(inputs: Inputs, key: WorkloadKey) -> tuple[Shown, ...]:
    """Everything that the listeners of a gateway workload ask for; nothing else is ever sent there."""
    workload = inputs.workloads.get(key)
    ports = workload.ports if workload is not None else ()
    served = (each for entry in ports for each in served_at(inputs, key, entry.port))
    wanted = (tls for each in served if (tls := each.server.tls) is not None and usable(inputs, key.namespace, tls))
    return tuple(dict.fromkeys(shown for tls in wanted for shown in _shown(inputs, key.namespace, tls)))


def _shown(inputs: Inputs, namespace: str, tls: Terminated) -> tuple[Shown, ...]:
    certificate, roots = _secret_names(tls)
    match tls.certificate:
        case InFiles(certificate=chain, key=key, roots=path):
            own: Shown = Certificate(certificate, InFile(chain), InFile(key))
            return (own, Roots(roots, InFile(path))) if tls.mutual else (own,)
        case Stored(name):
            secret = inputs.secrets.get(SecretKey(namespace, name))
            return _stored(secret, certificate, roots if tls.mutual else "") if secret is not None else ()


def _stored(secret: Secret, certificate: str, roots: str) -> tuple[Shown, ...]:
    own = Certificate(certificate, Inline(Sealed(secret.chain)), Inline(secret.key))
    return (own, Roots(roots, Inline(Sealed(secret.roots)))) if roots else (own,)


# -- routes ------------------------------------------------------------------------------------------------------------


def front_routes(inputs: Inputs, scope: Scope, front: Front) -> RouteConfiguration:
    """A host that no rule is for is not served (404); one of another server, with TLS, is not served here (421)."""
    return RouteConfiguration(front.name, front_hosts(inputs, scope, front), any_port=True)


def front_hosts(inputs: Inputs, scope: Scope, front: Front) -> tuple[VirtualHost, ...]:
    redirects = {host.host: each.server for each in front.served if each.server.to_https for host in each.hosts}
    found = [_redirect(host, server, front) for host, server in redirects.items()]
    for host, claimants in claims(inputs, scope.namespace, front):
        if host not in redirects and (routes := merged(inputs, scope, (host, front.port), claimants)):
            found.append(VirtualHost(names.host_port(host, front.port), (host,), routes))
    return (*found, *_misdirected(front, {host.domains[0] for host in found})) if front.secure else tuple(found)


def _misdirected(front: Front, known: set[str]) -> Iterator[VirtualHost]:
    """Clients use a connection for every host that its certificate is good for (RFC 9113 §9.1.1); told 421, they make
    another one, which comes to the right server. Nobody gets round what that one demands of callers.
    """
    own = front.hosts
    for host in front.elsewhere:
        yield VirtualHost(names.host_port(host, front.port), (host,), (_MISDIRECTED,))
    if "*" not in own:
        yield from (VirtualHost(names.host_port(host, front.port), (host,), ()) for host in own if host not in known)
        yield VirtualHost(names.host_port("*", front.port), ("*",), (_MISDIRECTED,))


_MISDIRECTED = Route(name="misdirected", action=Respond(421))


def _redirect(host: str, server: Server, front: Front) -> VirtualHost:
    to = Redirect(scheme="https", port=0 if front.https_port == 443 else front.https_port)
    route = Route(name="https-redirect", action=to, origin=server.origin.at("tls").at("httpsRedirect"))
    return VirtualHost(names.host_port(host, front.port), (host,), (route,))


@derived
def claims(inputs: Inputs, namespace: str, front: Front) -> tuple[Claim, ...]:
    """Which rules are for which hosts on a gateway in `namespace`. Where hosts overlap the smaller set counts."""
    found: dict[str, dict[tuple[ConfigKey, str], None]] = {}
    for served in front.served:
        if not served.server.to_https:
            for rule in rules_for(inputs, namespace, served.gateway):
                for host in covered(rule.hosts, served.hosts, namespace=rule.origin.config.namespace):
                    if not _is_elsewhere(host, front):
                        found.setdefault(host, {})[rule.origin.config, served.gateway] = None
    return tuple((host, tuple(claimants)) for host, claimants in sorted(found.items()))


def _is_elsewhere(host: str, front: Front) -> bool:
    """Whether another server's host is closer to this one than all that are served here."""
    return bool(front.elsewhere) and _closest(host, front.elsewhere) > _closest(host, front.hosts)


def _closest(host: str, served: tuple[str, ...]) -> tuple[bool, int]:
    around = [each for each in served if host == each or _within(host, each)]
    return max(((host == each, len(each)) for each in around), default=(False, 0))


def rules_for(inputs: Inputs, namespace: str, gateway: str) -> tuple[RouteRule, ...]:
    """The rules that name a gateway and may be seen in the namespace of its workload, the oldest first."""
    rules = (inputs.route_rules.get(key) for key in inputs.route_rules_by_gateway.get(gateway))
    seen = (rule for rule in rules if rule is not None and visible(rule.visible_to, rule.origin, namespace))
    return tuple(sorted(seen, key=rank))


def covered(wanted: tuple[str, ...], served: tuple[ServedHost, ...], *, namespace: str) -> tuple[str, ...]:
    """The hosts that a rule of `namespace` for the hosts `wanted` has on a server."""
    allowed = [host.host for host in served if host.namespace in ("*", namespace)]
    both = (intersection(ours, theirs) for ours in wanted for theirs in allowed)
    return tuple(dict.fromkeys(host for host in both if host))


def intersection(one: str, other: str) -> str:
    """The smaller of two hosts if it lies within the larger, else "".

    >>> intersection("*.example.com", "shop.example.com"), intersection("*", "*.com"), intersection("a.com", "b.com")
    ('shop.example.com', '*.com', '')
    """
    if one == other or _within(one, other):
        return one
    return other if _within(other, one) else ""


def _within(small: str, large: str) -> bool:
    return large == "*" or (large.startswith("*.") and small.endswith(large[1:]))


@derived
def merged(
    inputs: Inputs, scope: Scope, called: tuple[str, int], claimants: tuple[tuple[ConfigKey, str], ...]
) -> tuple[Route, ...]:
    """The routes of one host: those of all its rules, the oldest rule first; what takes every request goes last.

    Unlike in sidecars, rules for one host are put together (Istio, "split large virtual services").
    """
    by_rule: dict[Route, None] = {}
    for key, gateway in claimants:
        if (rule := inputs.route_rules.get(key)) is not None:
            by_rule |= dict.fromkeys(ruled(inputs, scope, rule, called=called, gateway=gateway))
    if len({key for key, _ in claimants}) < 2:
        return tuple(by_rule)
    return tuple(sorted(by_rule, key=lambda route: _takes_all(route.match)))


def _takes_all(match: RequestMatch) -> bool:
    path = match.path
    every = path is None or path == Prefix("/") or (isinstance(path, Regex) and path.value in ("*", ".*", "/.*"))
    return every and msgspec.structs.replace(match, path=None, ignore_path_case=False) == ANY_REQUEST
