"""VirtualService (networking.istio.io): spec, rules and lowering to a `RouteRule`. HTTP routes are in `http_route`."""

from collections.abc import Mapping
from typing import ClassVar

from core.diagnostics import Severity
from core.ir.lowered import Lowered
from core.ir.routing import MESH, RouteRule
from core.kinds import names
from core.kinds.findings import Context
from core.kinds.kind import Kind, Spec
from core.kinds.networking import http_match, http_route, reachability
from core.kinds.networking.http_route import HttpRouteSpec
from core.kinds.schema import read
from core.model.config import Document, Origin
from core.model.mesh import Mesh


class VirtualServiceSpec(Spec, frozen=True):
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HttpRouteSpec, ...] = ()
    export_to: tuple[str, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = {"tls": Severity.ERROR, "tcp": Severity.ERROR}


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, VirtualServiceSpec)
    rule = _rule(context, spec) if spec else None
    if rule and not context.findings.failed:
        reachability.check(context, rule)
    failed = rule is None or context.findings.failed
    return Lowered(() if failed or rule is None else (rule,), context.findings.all())


def _rule(context: Context, spec: VirtualServiceSpec) -> RouteRule:
    at = context.root
    gateways = tuple(http_match.gateway(context, name, at.at("gateways").at(i)) for i, name in enumerate(spec.gateways))
    routes = at.at("http")
    if not spec.http:
        context.error(routes, "http needs at least one route", fix="add http: [{route: [{destination: {host: …}}]}]")
    return RouteRule(
        hosts=_hosts(context, spec.hosts, gateways or (MESH,), at.at("hosts")),
        gateways=gateways or (MESH,),
        visible_to=names.visible_to(context, spec.export_to, at.at("exportTo")),
        http=tuple(http_route.lower(context, route, routes.at(i)) for i, route in enumerate(spec.http)),
        created=context.document.created,
        origin=at,
    )


def _hosts(context: Context, hosts: tuple[str, ...], gateways: tuple[str, ...], at: Origin) -> tuple[str, ...]:
    if not hosts:
        context.error(
            at, "hosts needs at least one host", fix="name the service that clients call, for example reviews"
        )
    result: dict[str, None] = {}
    for i, text in enumerate(hosts):
        full = _host(context, text, at.at(i), gateways)
        if full in result:
            context.error(at.at(i), f"the host {text!r} is given twice (in full: {full})", fix="keep one")
        result[full] = None
    return tuple(result)


def _host(context: Context, text: str, at: Origin, gateways: tuple[str, ...]) -> str:
    if names.is_ip(text):
        if MESH in gateways:
            context.error(at, f"the address {text} can be a host at gateways only", fix="name the service instead")
        return text
    if text == "*" and MESH in gateways:
        fix = "name hosts, or name the gateways that the rule is for"
        context.error(at, 'the host "*" is possible at gateways only, not in sidecars', fix=fix)
    return names.host_or_wildcard(context, text, at)


KIND = Kind(
    group="networking.istio.io",
    kind="VirtualService",
    plural="virtualservices",
    short_names=("vs",),
    versions=("v1", "v1beta1", "v1alpha3"),
    spec=VirtualServiceSpec,
    lower=lower,
)
