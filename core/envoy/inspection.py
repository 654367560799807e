"""Which listener filters look at a connection's first bytes, and at which ports they had better not wait for any."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from envoy.config.listener.v3 import listener_components_pb2 as components_pb2
from envoy.type.v3 import range_pb2

from core.envoy.filters import http_inspector, tls_inspector
from core.view.listener import PLAIN_HTTP, ChainMatch

_Predicate: TypeAlias = components_pb2.ListenerFilterChainMatchPredicate
_TRANSPORTS = {"any": "", "plain": "raw_buffer", "tls": "tls"}


def match(wanted: ChainMatch) -> components_pb2.FilterChainMatch | None:
    if wanted == ChainMatch():
        return None
    found = components_pb2.FilterChainMatch(
        server_names=wanted.server_names,
        transport_protocol=_TRANSPORTS[wanted.transport],
        application_protocols=wanted.protocols,
    )
    if wanted.port:
        found.destination_port.value = wanted.port
    return found


def inspectors(matches: Iterable[ChainMatch]) -> list[components_pb2.ListenerFilter]:
    """TLS first: what is TLS is not HTTP yet."""
    every = tuple(matches)
    both = ((tls_inspector.FILTER, _looks_for_tls), (http_inspector.FILTER, _looks_for_http))
    return [_where_needed(each, every, looks) for each, looks in both if any(map(looks, every))]


def _looks_for_tls(wanted: ChainMatch) -> bool:
    offered = any(protocol not in PLAIN_HTTP for protocol in wanted.protocols)
    return wanted.transport != "any" or bool(wanted.server_names) or offered


def _looks_for_http(wanted: ChainMatch) -> bool:
    return any(protocol in PLAIN_HTTP for protocol in wanted.protocols)


def _where_needed(
    inspector: components_pb2.ListenerFilter, matches: tuple[ChainMatch, ...], looks: Callable[[ChainMatch], bool]
) -> components_pb2.ListenerFilter:
    """Off where nobody looks: who waits there for the server to speak first would be waited for."""
    looking = {wanted.port for wanted in matches if looks(wanted)}
    idle = {wanted.port for wanted in matches} - looking
    if not idle:
        return inspector
    copy = components_pb2.ListenerFilter()
    copy.CopyFrom(inspector)
    off = _at(idle) if 0 in looking else _Predicate(not_match=_at(looking))
    copy.filter_disabled.CopyFrom(off)
    return copy


def _at(ports: Iterable[int]) -> _Predicate:
    rules = [_Predicate(destination_port_range=range_pb2.Int32Range(start=p, end=p + 1)) for p in sorted(ports)]
    return rules[0] if len(rules) == 1 else _Predicate(or_match=_Predicate.MatchSet(rules=rules))
