"""Which endpoints of an upstream are in use, and with what weight the load balancer sees them."""

from collections.abc import Mapping
from math import lcm
from typing import assert_never

from msgspec.structs import replace

from core.ir.traffic import Balance
from core.view.upstream import (
    AnyHost,
    Discovered,
    Endpoint,
    Internal,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    OriginalDestination,
    Resolved,
    Static,
    Upstream,
)


def in_use(upstream: Upstream, assignments: Mapping[str, LoadAssignment]) -> tuple[Endpoint, ...] | None:
    """None: whatever host the request names, or the connection was meant for."""
    match upstream.endpoints:
        case Discovered():
            assignment = assignments.get(upstream.name)
            return _first(upstream, assignment.localities if assignment else ())
        case Resolved(localities):
            return _first(upstream, localities)
        case Static(address, port):
            return (Endpoint(address, port),)
        case AnyHost() | OriginalDestination():
            return None
        case Internal() | Nowhere():
            return ()
        case _:
            assert_never(upstream.endpoints)


def _first(upstream: Upstream, given: tuple[LocalityEndpoints, ...]) -> tuple[Endpoint, ...]:
    """Those of the first priority that has any."""
    localities = [each for each in given if each.endpoints]
    first = min((each.priority for each in localities), default=0)
    used = [_seen(upstream, each) for each in localities if each.priority == first]
    if upstream.by_locality:
        used = _shared_out(used)
    return tuple(endpoint for each in used for endpoint in each.endpoints)


def _seen(upstream: Upstream, place: LocalityEndpoints) -> LocalityEndpoints:
    """Envoy's RANDOM does not look at the weights of endpoints."""
    if upstream.load_balancer != Balance("RANDOM"):
        return place
    return replace(place, endpoints=tuple(replace(each, weight=1) for each in place.endpoints))


def _shared_out(places: list[LocalityEndpoints]) -> list[LocalityEndpoints]:
    """The weights of endpoints so that together they come to those of their localities."""
    totals = [sum(endpoint.weight for endpoint in place.endpoints) for place in places]
    whole = lcm(*totals)
    return [_times(place, place.weight * whole // total) for place, total in zip(places, totals, strict=True)]


def _times(place: LocalityEndpoints, factor: int) -> LocalityEndpoints:
    return replace(place, endpoints=tuple(replace(each, weight=each.weight * factor) for each in place.endpoints))
