"""Does this request match? Domains, paths, headers and queries, compared as Envoy compares them."""

from typing import assert_never

import re2

from core.ir.routing import RequestMatch
from core.ir.values import Exact, Prefix, Present, Regex, StringMatch, ValueMatch
from core.simulate.request import Request
from core.view.route import RouteConfiguration, VirtualHost


def virtual_host(configuration: RouteConfiguration, authority: str) -> VirtualHost | None:
    """Exact domains, then the longest `*suffix`, then the longest `prefix*`, then "*" (Envoy `VirtualHost.domains`)."""
    wanted = authority.lower()
    if configuration.any_port:
        wanted = _without_port(wanted)
    best: tuple[tuple[int, int], VirtualHost] | None = None
    for candidate in configuration.virtual_hosts:
        for domain in candidate.domains:
            rank = _domain_rank(domain.lower(), wanted)
            if rank is not None and (best is None or rank < best[0]):
                best = rank, candidate
    return best[1] if best is not None else None


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority


def _domain_rank(domain: str, wanted: str) -> tuple[int, int] | None:
    """A wildcard stands for at least one character."""
    if domain == wanted:
        return 0, 0
    if domain == "*":
        return 3, 0
    if len(wanted) < len(domain):
        return None
    if domain.startswith("*") and wanted.endswith(domain[1:]):
        return 1, -len(domain)
    if domain.endswith("*") and wanted.startswith(domain[:-1]):
        return 2, -len(domain)
    return None


def matches(match: RequestMatch, request: Request) -> bool:
    """All that `match` asks for holds. Header values keep their case, a path only with `ignore_path_case`."""
    return (
        _path_matches(match, request.path)
        and _text_matches(match.scheme, request.scheme)
        and _text_matches(match.method, request.method)
        and _text_matches(match.authority, request.authority)
        and all(_header_matches(wanted, request.values(name)) for name, wanted in match.headers)
        and not any(_forbidden(wanted, request.values(name)) for name, wanted in match.without_headers)
        and all(_value_matches(wanted, request.parameter(name)) for name, wanted in match.query)
    )


def _path_matches(match: RequestMatch, path: str) -> bool:
    wanted = match.path
    if wanted is None:
        return True
    if match.ignore_path_case and isinstance(wanted, Exact | Prefix):
        return _text_matches(type(wanted)(wanted.value.lower()), path.lower())
    return _text_matches(wanted, path)


def _text_matches(wanted: StringMatch | None, text: str) -> bool:
    return wanted is None or _value_matches(wanted, text)


def _header_matches(wanted: ValueMatch, values: list[str]) -> bool:
    """Any of a repeated header's values will do."""
    return any(_value_matches(wanted, value) for value in values)


def _forbidden(wanted: ValueMatch, values: list[str]) -> bool:
    """Where a header must not match, a missing one counts as empty (Envoy `treat_missing_header_as_empty`)."""
    return _header_matches(wanted, values if isinstance(wanted, Present) else values or [""])


def _value_matches(wanted: ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    match wanted:
        case Exact(text):
            return value == text
        case Prefix(text):
            return value.startswith(text)
        case Regex(pattern):
            return re2.fullmatch(pattern, value) is not None
        case Present():
            return True
        case _:
            assert_never(wanted)
