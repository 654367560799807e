"""Which endpoints of an upstream are in use, and with what weight the load balancer sees them."""

from collections.abc import Mapping
from typing import assert_never

import msgspec

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
    """Those of the first priority that has any. Envoy's RANDOM does not look at weights."""
    localities = [each for each in given if each.endpoints]
    first = min((each.priority for each in localities), default=0)
    used = [endpoint for each in localities if each.priority == first for endpoint in each.endpoints]
    if upstream.load_balancer == Balance("RANDOM"):
        return tuple(msgspec.structs.replace(each, weight=1) for each in used)
    return tuple(used)
