"""Does this request match? Domains, paths, headers and queries, compared as Envoy compares them."""

from collections.abc import Iterable
from typing import assert_never
from urllib.parse import parse_qsl

import re2

from core.ir.routing import RequestMatch
from core.ir.values import Exact, Prefix, Present, Regex, StringMatch, ValueMatch
from core.view.route import RouteConfiguration, VirtualHost


def virtual_host(configuration: RouteConfiguration, authority: str) -> VirtualHost | None:
    """Exact domains, then the longest `*suffix`, then the longest `prefix*`, then "*" (Envoy `VirtualHost.domains`)."""
    wanted = authority.lower()
    best: tuple[tuple[int, int], VirtualHost] | None = None
    for candidate in configuration.virtual_hosts:
        for domain in candidate.domains:
            rank = _domain_rank(domain.lower(), wanted)
            if rank is not None and (best is None or rank < best[0]):
                best = rank, candidate
    return best[1] if best is not None else None


def _domain_rank(domain: str, wanted: str) -> tuple[int, int] | None:
    if domain == wanted:
        return 0, 0
    if domain == "*":
        return 3, 0
    if domain.startswith("*") and wanted.endswith(domain[1:]) and len(wanted) >= len(domain):
        return 1, -len(domain)
    if domain.endswith("*") and wanted.startswith(domain[:-1]) and len(wanted) >= len(domain):
        return 2, -len(domain)
    return None


class Request:
    """A request as matching sees it. `:authority` and `:method` are no headers; repeated headers are joined by ","."""

    def __init__(self, *, method: str, path: str, authority: str, headers: Iterable[tuple[str, str]]) -> None:
        self.method = method
        self.path, _, query = path.partition("?")
        self.authority = authority
        self.scheme = "http"
        self.headers: dict[str, str] = {}
        for name, value in headers:
            known = self.headers.get(name.lower())
            self.headers[name.lower()] = value if known is None else f"{known},{value}"
        self.query: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self.query.setdefault(name, value)


def matches(match: RequestMatch, request: Request) -> bool:
    """All that `match` asks for holds. Header values keep their case, a path only with `ignore_path_case`."""
    return (
        _path_matches(match, request.path)
        and _text_matches(match.scheme, request.scheme)
        and _text_matches(match.method, request.method)
        and _text_matches(match.authority, request.authority)
        and all(_value_matches(wanted, request.headers.get(name)) for name, wanted in match.headers)
        and not any(_value_matches(wanted, request.headers.get(name)) for name, wanted in match.without_headers)
        and all(_value_matches(wanted, request.query.get(name)) for name, wanted in match.query)
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
