"""Routes: what happens to a request for a host and port, for the callers of one scope."""

from core.compiler import names
from core.compiler.inputs import Inputs
from core.compiler.precedence import effective, policy_for, route_rule_for, service_for
from core.compiler.scope import Scope
from core.incremental import derived
from core.ir.routing import ANY_REQUEST, MESH, Destination, Forward, HttpRoute, Match, RouteRule, Share
from core.ir.traffic import ConsistentHash, HashKey
from core.ir.values import DEFAULT_RETRY, Inherit, Retry
from core.view.route import Action, ForwardTo, MirrorTo, Route, WeightedUpstream


@derived
def routes(inputs: Inputs, scope: Scope, host: str, port: int) -> tuple[Route, ...]:
    """The routes of one host on one port, first match first.

    `host` may be one that no service has: then only a rule can say where it leads, and without one it has no routes.
    A rule none of whose routes is for these callers counts as no rule.
    """
    service = service_for(inputs, scope.namespace, host)
    rule = _rule(inputs, scope, (host, *service.aliases) if service is not None else (host,))
    found = ruled(inputs, scope, rule, called=(host, port)) if rule is not None else ()
    if found or service is None:
        return found
    return (_default_route(inputs, scope, host, port),)


def _rule(inputs: Inputs, scope: Scope, hosts: tuple[str, ...]) -> RouteRule | None:
    found = (route_rule_for(inputs, scope.namespace, host) for host in hosts)
    return next((rule for rule in found if rule is not None), None)


def _default_route(inputs: Inputs, scope: Scope, host: str, port: int) -> Route:
    forward = Forward(shares=(Share(Destination(host, port=port)),))
    action = _forward(inputs, scope, forward, port)
    return Route(name="default", action=action, operation=_operation(host, port))


def ruled(
    inputs: Inputs, scope: Scope, rule: RouteRule, *, called: tuple[str, int], gateway: str = MESH
) -> tuple[Route, ...]:
    """The routes of one rule for calls to the host and port `called`: in sidecars, or in a gateway."""
    return tuple(
        _route(inputs, scope, route, match, called)
        for route in rule.http
        for match in route.matches or (Match(origin=route.origin),)
        if gateway in (match.source.gateways or rule.gateways) and _concerns(match, scope, called[1])
    )


def _concerns(match: Match, scope: Scope, port: int) -> bool:
    source = match.source
    return source.port in (0, port) and source.namespace in ("", scope.namespace) and scope.labels.select(source.labels)


def _route(inputs: Inputs, scope: Scope, route: HttpRoute, match: Match, called: tuple[str, int]) -> Route:
    host, port = called
    return Route(
        name=".".join(part for part in (route.name, match.name) if part),
        match=match.request,
        action=_action(inputs, scope, route, port),
        fault=route.fault,
        headers=route.headers,
        operation=_operation(host, port) if match.request == ANY_REQUEST else "",
        origin=match.origin,
    )


def _operation(host: str, port: int) -> str:
    return f"{names.host_port(host, port)}/*"


def _action(inputs: Inputs, scope: Scope, route: HttpRoute, port: int) -> Action:
    if isinstance(route.action, Forward):
        return _forward(inputs, scope, route.action, port)
    return route.action


def _forward(inputs: Inputs, scope: Scope, forward: Forward, port: int) -> ForwardTo:
    shares = [share for share in forward.shares if share.weight] or list(forward.shares[:1])
    targets = [_upstream_name(inputs, scope, share.destination, port) for share in shares]
    hash_key = _hash_key(inputs, scope, shares[0].destination, port)
    return ForwardTo(
        upstreams=tuple(
            WeightedUpstream(target, share.weight if len(shares) > 1 else 1, share.headers)
            for target, share in zip(targets, shares, strict=True)
        ),
        rewrite=forward.rewrite,
        timeout=0 if isinstance(forward.timeout, Inherit) else forward.timeout,
        retry=_retry(forward.retry, hash_key),
        hash_key=hash_key,
        mirrors=tuple(
            MirrorTo(_upstream_name(inputs, scope, mirror.destination, port), mirror.per_million)
            for mirror in forward.mirrors
        ),
    )


def _retry(retry: Retry | Inherit, hash_key: HashKey | None) -> Retry | None:
    """With consistent hashing a retry may come back to the same endpoint: there is no other for that key."""
    resolved = DEFAULT_RETRY if isinstance(retry, Inherit) else retry
    if resolved.attempts == 0:
        return None
    if hash_key is None:
        return resolved
    return Retry(
        attempts=resolved.attempts,
        per_try_timeout=resolved.per_try_timeout,
        conditions=resolved.conditions,
        status_codes=resolved.status_codes,
        ignore_previous_hosts=False,
    )


def _upstream_name(inputs: Inputs, scope: Scope, destination: Destination, called: int) -> str:
    """Upstreams carry the service's own host, also where a rule names an alias."""
    service = service_for(inputs, scope.namespace, destination.host)
    host = service.key.host if service is not None else destination.host
    return names.outbound(host, _port(inputs, scope, destination, called), destination.subset)


def _port(inputs: Inputs, scope: Scope, destination: Destination, called: int) -> int:
    """The destination's port: the one given, else the service's only one, else the one that was called."""
    if destination.port:
        return destination.port
    service = service_for(inputs, scope.namespace, destination.host)
    return service.ports[0].number if service is not None and len(service.ports) == 1 else called


def _hash_key(inputs: Inputs, scope: Scope, destination: Destination, called: int) -> HashKey | None:
    service = service_for(inputs, scope.namespace, destination.host)
    if service is None:
        return None
    policy = policy_for(inputs, scope.namespace, service.key)
    subset = next((s for s in policy.subsets if s.name == destination.subset), None)
    balancer = effective(policy, _port(inputs, scope, destination, called), subset).load_balancer
    return balancer.key if isinstance(balancer, ConsistentHash) else None
