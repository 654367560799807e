"""Which requests a route is for."""

from typing import assert_never

from envoy.config.route.v3 import route_components_pb2 as route_pb2

from core.envoy import matchers
from core.envoy.any import NO
from core.ir.routing import RequestMatch
from core.ir.values import Exact, Prefix, Regex, StringMatch


def http(match: RequestMatch) -> route_pb2.RouteMatch:
    """For any request but CONNECT. No path means every path."""
    message = _path(match.path)
    if match.ignore_path_case:
        message.case_sensitive.CopyFrom(NO)
    return _narrowed(message, match)


def tunnel(match: RequestMatch) -> route_pb2.RouteMatch:
    """For CONNECT requests, which have no path."""
    return _narrowed(route_pb2.RouteMatch(connect_matcher=route_pb2.RouteMatch.ConnectMatcher()), match)


def _path(path: StringMatch | None) -> route_pb2.RouteMatch:
    match path:
        case None:
            return route_pb2.RouteMatch(prefix="/")
        case Exact(value):
            return route_pb2.RouteMatch(path=value)
        case Prefix(value):
            return route_pb2.RouteMatch(prefix=value)
        case Regex(value):
            return route_pb2.RouteMatch(safe_regex=matchers.regex(value))
        case _:
            assert_never(path)


def _narrowed(message: route_pb2.RouteMatch, match: RequestMatch) -> route_pb2.RouteMatch:
    pseudo = ((":method", match.method), (":scheme", match.scheme), (":authority", match.authority))
    message.headers.extend(matchers.header(name, value) for name, value in pseudo if value is not None)
    message.headers.extend(matchers.header(name, value) for name, value in match.headers)
    message.headers.extend(matchers.without_header(name, value) for name, value in match.without_headers)
    message.query_parameters.extend(matchers.query(name, value) for name, value in match.query)
    return message
