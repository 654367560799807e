"""Matching: domains, paths, headers and queries as Envoy compares them."""

import pytest

from core.ir.routing import RequestMatch
from core.ir.values import Exact, Prefix, Present, Regex
from core.simulate.match import matches, virtual_host
from core.simulate.request import Request
from core.view.route import RouteConfiguration, VirtualHost


def _request(path: str = "/", headers: tuple[tuple[str, str], ...] = (), *, scheme: str = "http") -> Request:
    return Request(method="GET", target=path, authority="reviews", scheme=scheme, headers=headers)


DOMAINS = RouteConfiguration(
    "",
    tuple(
        VirtualHost(name, (name,), ())
        for name in ("*", "*.com", "*.example.com", "www.example.com", "www.*", "www.ex*")
    ),
)


@pytest.mark.parametrize(
    ("authority", "chosen"),
    [
        ("www.example.com", "www.example.com"),
        ("WWW.Example.COM", "www.example.com"),
        ("a.example.com", "*.example.com"),
        ("a.b.example.com", "*.example.com"),
        ("www.other.com", "*.com"),
        ("www.exact.org", "www.ex*"),
        ("www.other.org", "www.*"),
        ("example.org", "*"),
        (".com", "*"),
    ],
)
def test_the_most_specific_domain_wins(authority: str, chosen: str) -> None:
    """Exact, then the longest suffix, then the longest prefix, then "*"; a wildcard stands for something."""
    found = virtual_host(DOMAINS, authority)
    assert found is not None
    assert found.name == chosen


def test_no_domain_no_virtual_host() -> None:
    """Where nothing covers the authority there is none."""
    assert virtual_host(RouteConfiguration("", (VirtualHost("a", ("a",), ()),)), "b") is None


@pytest.mark.parametrize(
    ("match", "path", "holds"),
    [
        (RequestMatch(path=Exact("/a")), "/a?b", True),
        (RequestMatch(path=Exact("/a")), "/A", False),
        (RequestMatch(path=Exact("/A"), ignore_path_case=True), "/a", True),
        (RequestMatch(path=Prefix("/A"), ignore_path_case=True), "/ab", True),
        (RequestMatch(path=Regex("/A"), ignore_path_case=True), "/a", False),
        (RequestMatch(path=Regex("/a+")), "/aaa?x", True),
        (RequestMatch(path=Regex("/a+")), "/aab", False),
        (RequestMatch(query=(("q", Exact("1")),)), "/?q=1&q=2", True),
        (RequestMatch(query=(("q", Exact("2")),)), "/?q=1&q=2", False),
        (RequestMatch(query=(("q", Present()),)), "/?q", True),
        (RequestMatch(query=(("q", Present()),)), "/?p", False),
        (RequestMatch(query=(("q", Exact("a b")),)), "/?q=a%20b", False),
        (RequestMatch(query=(("q", Exact("a=b")),)), "/?q=a=b", True),
    ],
)
def test_paths_and_queries(match: RequestMatch, path: str, holds: bool) -> None:
    """A path is compared without its query, a query without decoding it."""
    assert matches(match, _request(path)) is holds


@pytest.mark.parametrize(
    ("match", "headers", "holds"),
    [
        (RequestMatch(headers=(("x", Exact("b")),)), (("x", "a"), ("x", "b")), True),
        (RequestMatch(headers=(("x", Exact("a,b")),)), (("x", "a"), ("x", "b")), False),
        (RequestMatch(headers=(("x", Present()),)), (("x", ""),), True),
        (RequestMatch(headers=(("x", Regex(".*")),)), (), False),
        (RequestMatch(without_headers=(("x", Exact("b")),)), (("x", "a"), ("x", "b")), False),
        (RequestMatch(without_headers=(("x", Exact("b")),)), (), True),
        (RequestMatch(without_headers=(("x", Regex(".*")),)), (), False),
        (RequestMatch(without_headers=(("x", Present()),)), (), True),
        (RequestMatch(without_headers=(("x", Present()),)), (("x", ""),), False),
    ],
)
def test_headers(match: RequestMatch, headers: tuple[tuple[str, str], ...], holds: bool) -> None:
    """Any of repeated headers may match; where a header must not match, a missing one counts as empty."""
    assert matches(match, _request(headers=headers)) is holds


def test_scheme_method_and_authority() -> None:
    """All three are conditions like any others."""
    match = RequestMatch(scheme=Exact("https"), method=Prefix("G"), authority=Regex("re.*"))
    assert matches(match, _request(scheme="https"))
    assert not matches(match, _request())
