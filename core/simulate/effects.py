"""What a route does to requests on their way out, and to answers on their way back."""

from collections.abc import Iterable

import msgspec

from core.ir.values import HeaderOps
from core.simulate.call import Arrived, Pairs
from core.simulate.changes import changed
from core.simulate.request import Request
from core.simulate.rewrite import rewritten
from core.view.route import ForwardTo, Route, WeightedUpstream


class Way(msgspec.Struct, frozen=True):
    """How `share` of the calls come to an upstream: by a route, or (None) as bytes that a filter chain passes on."""

    target: WeightedUpstream
    share: float = 1.0
    route: Route | None = None


def forwarded(request: Request, way: Way) -> Request:
    """The request as the other side gets it."""
    if way.route is None or not isinstance(way.route.action, ForwardTo):
        return request
    rewrite, steps = way.route.action.rewrite, (way.route.headers.request, way.target.headers.request)
    return msgspec.structs.replace(
        request,
        target=rewritten(request.target, way.route.match.path, rewrite.path),
        authority=rewrite.authority or request.authority,
        headers=changed(request.headers, steps, request=_without_removed(request, steps)),
    )


def _without_removed(request: Request, steps: Iterable[HeaderOps]) -> Request:
    """What values may speak of: Envoy removes before it fills them in, wherever the removal was written."""
    removed = {name.lower() for ops in steps for name in ops.remove}
    kept = tuple(pair for pair in request.headers if pair[0] not in removed)
    return msgspec.structs.replace(request, headers=kept)


def response_steps(route: Route | None, target: WeightedUpstream | None = None) -> tuple[HeaderOps, ...]:
    """What is done to an answer's headers: by the route before its destination."""
    given = (each.headers.response for each in (route, target) if each is not None)
    return tuple(ops for ops in given if ops)


def response_headers(request: Request, route: Route | None, target: WeightedUpstream | None = None) -> Pairs:
    """The headers that rules give to an answer of the proxy itself; it is changed like any other."""
    return changed((), response_steps(route, target), request=request)


def response_on(arrived: Arrived) -> Pairs:
    """The headers that rules of the caller give to an answer of the other side's proxy."""
    request = Request(method="", target=arrived.path, authority=arrived.authority, headers=arrived.headers)
    return changed((), arrived.response, request=request)
