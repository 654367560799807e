"""Matchers of strings, headers and query parameters."""

from typing import assert_never

from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from core.ir.values import Exact, Prefix, Present, Regex, StringMatch, ValueMatch


def regex(pattern: str) -> regex_pb2.RegexMatcher:
    return regex_pb2.RegexMatcher(regex=pattern)


def string(match: StringMatch) -> string_pb2.StringMatcher:
    match match:
        case Exact(value):
            return string_pb2.StringMatcher(exact=value)
        case Prefix(value):
            return string_pb2.StringMatcher(prefix=value)
        case Regex(value):
            return string_pb2.StringMatcher(safe_regex=regex(value))
        case _:
            assert_never(match)


def header(name: str, match: ValueMatch) -> route_pb2.HeaderMatcher:
    if isinstance(match, Present):
        return route_pb2.HeaderMatcher(name=name, present_match=True)
    return route_pb2.HeaderMatcher(name=name, string_match=string(match))


def without_header(name: str, match: ValueMatch) -> route_pb2.HeaderMatcher:
    """Holds where the header is missing, too: Envoy alone would let a missing header fail any match but presence."""
    matcher = header(name, match)
    matcher.invert_match = True
    matcher.treat_missing_header_as_empty = not isinstance(match, Present)
    return matcher


def query(name: str, match: ValueMatch) -> route_pb2.QueryParameterMatcher:
    if isinstance(match, Present):
        return route_pb2.QueryParameterMatcher(name=name, present_match=True)
    return route_pb2.QueryParameterMatcher(name=name, string_match=string(match))
