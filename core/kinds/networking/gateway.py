"""Gateway (networking.istio.io): spec, rules and lowering to a `GatewayRule`. HTTP, and HTTPS that ends at the gateway.

Source of the rules: Istio `Gateway`, `Server`, `Port`, and what Istio's own validation refuses.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from core.diagnostics import Severity
from core.ir.gateway import GatewayRule, ServedHost, Server
from core.ir.lowered import Lowered
from core.kinds import names
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Kind, Spec
from core.kinds.networking import servertls
from core.kinds.networking.servertls import ServerTlsSpec
from core.kinds.schema import read
from core.kinds.spelling import closest
from core.model.config import Document, Origin
from core.model.mesh import Mesh

_PLAIN = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_TLS = ("HTTPS",)
_LATER = ("TLS", "TCP", "MONGO", "REDIS", "MYSQL")


class ServerPortSpec(Spec, frozen=True):
    number: int = 0
    protocol: str = ""
    name: str = ""


class ServerSpec(Spec, frozen=True):
    port: ServerPortSpec | None = None
    hosts: tuple[str, ...] = ()
    tls: ServerTlsSpec | None = None
    name: str = ""

    # A server bound to one address lets in fewer callers than one that listens on all.
    later: ClassVar[Mapping[str, Severity]] = {"bind": Severity.ERROR, "defaultEndpoint": Severity.ERROR}


class GatewaySpec(Spec, frozen=True):
    servers: tuple[ServerSpec, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, GatewaySpec)
    rule = _rule(context, spec) if spec else None
    failed = rule is None or context.findings.failed
    return Lowered(() if failed or rule is None else (rule,), context.findings.all())


def _rule(context: Context, spec: GatewaySpec) -> GatewayRule:
    at = context.root
    if not spec.servers:
        fix = 'for example {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}'
        context.error(at.at("servers"), "servers needs at least one server", fix=fix)
    if not spec.selector:
        message = "without a selector every gateway of the mesh opens these ports"
        context.warn(at.at("selector"), message, fix="for example selector: {istio: ingressgateway}")
    servers = tuple(_server(context, server, at.at("servers").at(i)) for i, server in enumerate(spec.servers))
    _names_once(context, servers)
    return GatewayRule(
        selector=names.labels(context, spec.selector, at.at("selector")),
        servers=servers,
        created=context.document.created,
        origin=at,
    )


def _names_once(context: Context, servers: tuple[Server, ...]) -> None:
    for i, server in enumerate(servers):
        if server.name and server.name in [other.name for other in servers[:i]]:
            at = server.origin.at("port").at("name")
            context.error(at, f"the port name {server.name[:80]!r} is given twice", fix="rename one of them")


def _server(context: Context, spec: ServerSpec, at: Origin) -> Server:
    port = spec.port or ServerPortSpec()
    if spec.port is None:
        fix = "for example {number: 80, name: http, protocol: HTTP}"
        context.error(at.at("port"), "port is required", fix=fix)
    else:
        _port(context, port, at.at("port"))
    secure = port.protocol.upper() in _TLS
    if not secure:
        _check_plain(context, spec, at.at("tls"))
    to_https = spec.tls is not None and spec.tls.https_redirect
    return Server(
        port=port.number,
        name=port.name,
        hosts=_hosts(context, spec.hosts, at.at("hosts")),
        tls=servertls.lower(context, spec.tls, at.at("tls")) if secure else None,
        to_https=to_https and not secure,
        origin=at,
    )


def _check_plain(context: Context, spec: ServerSpec, at: Origin) -> None:
    """Without HTTPS there is nothing to say of TLS but that callers are to use it."""
    if spec.tls is None or spec.tls == ServerTlsSpec(https_redirect=spec.tls.https_redirect):
        return
    protocol = spec.port.protocol.upper() if spec.port else ""
    if protocol in _PLAIN:
        message = f"a server of protocol {protocol} is not encrypted, so tls may hold httpsRedirect only"
        context.error(at, message, fix="write protocol: HTTPS, or take tls out")


# -- ports -------------------------------------------------------------------------------------------------------------


def _port(context: Context, spec: ServerPortSpec, at: Origin) -> None:
    names.port(context, spec.number, at.at("number"))
    if not names.is_dns_label(spec.name):
        message = f"the name {spec.name[:80]!r} of the port is not a DNS label" if spec.name else "a port needs a name"
        context.error(at.at("name"), message, fix="for example name: http")
    _protocol(context, spec.protocol, at.at("protocol"))


def _protocol(context: Context, text: str, at: Origin) -> None:
    known = (*_PLAIN, *_TLS, *_LATER)
    if not text:
        context.error(at, "protocol is required", fix="write HTTP or HTTPS")
    elif text.upper() in _LATER:
        message = f"servers of protocol {text} are not supported yet, so nothing would listen there"
        context.error(at, message, fix="write HTTP, or HTTPS with a certificate", code=UNSUPPORTED)
    elif text.upper() not in known:
        meant = closest(text.upper(), known, likeness=0.6)
        fix = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}"
        context.error(at, f"the protocol {text[:80]!r} is not known", fix=fix)


# -- hosts -------------------------------------------------------------------------------------------------------------


def _hosts(context: Context, texts: tuple[str, ...], at: Origin) -> tuple[ServedHost, ...]:
    if not texts:
        fix = 'name the hosts that clients call, for example shop.example.com, or "*" for all'
        context.error(at, "hosts needs at least one host", fix=fix)
    found = tuple(_host(context, text, at.at(i)) for i, text in enumerate(texts))
    for i, host in enumerate(found):
        if host in found[:i]:
            context.error(at.at(i), f"the host {texts[i][:80]!r} is given twice", fix="keep one of them")
    return found


def _host(context: Context, text: str, at: Origin) -> ServedHost:
    """`host`, or `namespace/host` for rules of that namespace only; "." is the document's own, "*" any."""
    namespace, slash, host = text.rpartition("/")
    if slash and namespace not in ("*", ".") and not names.is_dns_label(namespace):
        fix = 'write "namespace/host", "./host" for this namespace, or the host alone'
        context.error(at, f"{namespace[:80]!r} in {text[:80]!r} is not a namespace", fix=fix)
    full = host.lower().removesuffix(".")
    if not full:
        context.error(at, f"{text[:80]!r} names no host", fix='for example shop.example.com, or "*"')
    elif not names.is_ip(full):
        names.host_or_wildcard(context, full, at)
    return ServedHost(full, context.namespace if namespace == "." else namespace or "*")


KIND = Kind(
    group="networking.istio.io",
    kind="Gateway",
    plural="gateways",
    short_names=("gw",),
    versions=("v1", "v1beta1", "v1alpha3"),
    spec=GatewaySpec,
    lower=lower,
)
