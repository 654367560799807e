"""Route configurations, composed of ready-made bytes: routes, virtual hosts, and the envelope around them."""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from envoy.config.route.v3 import route_components_pb2, route_pb2

from core.envoy import metadata, mutations, route_actions, route_matches, wire
from core.envoy.any import NO, head, number, serialised
from core.envoy.filters import fault
from core.envoy.names import FAULT, ROUTE_CONFIGURATION
from core.envoy.templates import Templates
from core.ir.routing import RequestMatch
from core.ir.values import Fault, Headers, Redirect, Respond
from core.view.route import Action, ForwardTo, Route, RouteConfiguration, Tunnel, WeightedUpstream

_Route = route_components_pb2.Route
_VirtualHost = route_components_pb2.VirtualHost
_Configuration = route_pb2.RouteConfiguration


def encode(configuration: RouteConfiguration) -> bytes:
    """An `Any` of `envoy.config.route.v3.RouteConfiguration`."""
    chunks = virtual_hosts(configuration)
    settings = ANY_PORT_SETTINGS if configuration.any_port else SETTINGS
    return wire.Rope(*wrap(configuration.name, chunks, sum(map(len, chunks)), settings=settings)).join()


def wrap(
    name: str, chunks: Sequence[bytes | wire.Rope], size: int, *, settings: bytes = b""
) -> tuple[bytes | wire.Rope, ...]:
    """The same as a rope, of virtual hosts that are bytes already and `size` bytes together.

    `settings` are the other fields, b"" the ordinary ones.
    """
    settings = settings or SETTINGS
    first = wire.text(_Configuration.NAME_FIELD_NUMBER, name)
    prefix = head(ROUTE_CONFIGURATION, len(first) + size + len(settings)) + first
    return (prefix, *chunks, settings)


def inline(configuration: RouteConfiguration) -> route_pb2.RouteConfiguration:
    """As a message, for the listener that holds it: those are inbound, and the caller's proxy counts the attempts."""
    body = b"".join(virtual_hosts(configuration)) + SETTINGS
    message = _Configuration.FromString(body)
    message.name = configuration.name
    for host in message.virtual_hosts:
        host.include_request_attempt_count = False
    return message


def virtual_hosts(configuration: RouteConfiguration) -> list[bytes]:
    return [
        encode_virtual_host(host.name, host.domains, encode_routes(host.routes)) for host in configuration.virtual_hosts
    ]


def encode_virtual_host(name: str, domains: Sequence[str], routes: bytes) -> bytes:
    """One `virtual_hosts` field of a route configuration; `routes` as `encode_routes` makes them."""
    domain_fields = (wire.text(_VirtualHost.DOMAINS_FIELD_NUMBER, domain) for domain in domains)
    body = b"".join((wire.text(_VirtualHost.NAME_FIELD_NUMBER, name), *domain_fields, routes, _HOST_SETTINGS))
    return wire.field(_Configuration.VIRTUAL_HOSTS_FIELD_NUMBER, body)


def encode_routes(routes: Sequence[Route]) -> bytes:
    """The `routes` fields of a virtual host; the same for every set of domains."""
    return b"".join([_TEMPLATES.render(*taken_apart(route)) for route in routes])


SETTINGS = serialised(
    _Configuration(
        # A route may name a cluster that is not there: then its requests get 503 NC, and no other route suffers.
        validate_clusters=NO,
        max_direct_response_body_size_bytes=number(1 << 20),
    )
)
ANY_PORT_SETTINGS = SETTINGS + serialised(_Configuration(ignore_port_in_host_matching=True))
_HOST_SETTINGS = serialised(_VirtualHost(include_request_attempt_count=True))


class Shape(msgspec.Struct, frozen=True):
    """What is not text of a route. An action of no upstreams leads to the one that is among the texts."""

    match: RequestMatch
    action: Action
    fault: Fault | None
    headers: Headers


def taken_apart(route: Route) -> tuple[Shape, tuple[str, ...]]:
    action, upstream = _split(route.action)
    shape = Shape(route.match, action, route.fault, route.headers)
    config = metadata.path_of(route.origin) if route.origin else ""
    return shape, (route.name, upstream, route.operation, config)


def _split(action: Action) -> tuple[Action, str]:
    """The action without the name of its upstream, and that name, where there is just one."""
    if isinstance(action, ForwardTo) and len(action.upstreams) == 1 and not action.upstreams[0].headers:
        return msgspec.structs.replace(action, upstreams=()), action.upstreams[0].upstream
    return action, ""


def build(shape: Shape, texts: tuple[str, ...]) -> bytes:
    """The same with protobuf alone."""
    name, upstream, operation, config = texts
    action = _joined(shape.action, upstream)
    message = _Route(
        name=name,
        match=(route_matches.tunnel if isinstance(action, Tunnel) else route_matches.http)(shape.match),
        metadata=metadata.metadata({"config": metadata.text(config)}) if config else None,
        decorator=route_components_pb2.Decorator(operation=operation) if operation else None,
        typed_per_filter_config={FAULT: fault.of_route(shape.fault)} if shape.fault else {},
    )
    _act(message, action, shape.headers)
    return wire.field(_VirtualHost.ROUTES_FIELD_NUMBER, serialised(message))


_TEMPLATES = Templates(build)


def _joined(action: Action, upstream: str) -> Action:
    if isinstance(action, ForwardTo) and not action.upstreams:
        return msgspec.structs.replace(action, upstreams=(WeightedUpstream(upstream),))
    return action


def _act(message: route_components_pb2.Route, action: Action, headers: Headers) -> None:
    if headers and not (isinstance(action, ForwardTo) and route_actions.changes_headers_by_destination(action)):
        message.MergeFrom(_Route(**mutations.mutations(headers)))
    match action:
        case ForwardTo():
            message.route.CopyFrom(route_actions.forward(action, headers))
        case Redirect():
            message.redirect.CopyFrom(route_actions.redirect(action))
        case Respond():
            message.direct_response.CopyFrom(route_actions.respond(action))
        case Tunnel(upstream):
            message.route.CopyFrom(route_actions.tunnel(upstream))
        case _:
            assert_never(action)
