"""Paths and locations as Envoy makes them (each line was seen on a real Envoy)."""

import pytest

from core.ir.values import Exact, Prefix, Redirect, Regex, RegexRewrite, StringMatch, UriRewrite
from core.simulate.redirect import location
from core.simulate.request import Request
from core.simulate.rewrite import normalised, rewritten


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/a/./b/../c//d", "/a/c//d"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/%2E./b", "/b"),
        ("/%65%4A", "/eJ"),
        ("/%7e%2d%5F%2E", "/~-_."),
        ("/a\\b", "/a/b"),
        ("/a%5cb", "/a%5cb"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%25b%20", "/a%25b%20"),
        ("/a%zz", "/a%zz"),
        ('/a"<|>', "/a%22%3C%7C%3E"),
        ("/a^b`c{d}", "/a%5Eb%60c%7Bd%7D"),
        ("/a'b(c)[d];e", "/a'b(c)[d];e"),
        ("/a?b/../c", "/a?b/../c"),
        ("//a", "//a"),
    ],
)
def test_normalised(sent: str, seen: str) -> None:
    """Dot segments go, needless escapes go, needed ones come; the query and double slashes stay."""
    assert normalised(sent) == seen


@pytest.mark.parametrize(
    ("target", "matched", "rewrite", "result"),
    [
        ("/foo/x?q", Prefix("/foo"), UriRewrite("/"), "//x?q"),
        ("/foobar", Prefix("/foo"), UriRewrite("/"), "/bar"),
        ("/foo?q", Exact("/foo"), UriRewrite("/new"), "/new?q"),
        ("/foo/1", Regex("/foo/.*"), UriRewrite("/new"), "/new"),
        ("/foo", None, UriRewrite("/new/"), "/new/foo"),
        ("/a/b?/a/b", None, RegexRewrite("/([a-z])", r"/\1\1"), "/aa/bb?/a/b"),
        ("/a", None, RegexRewrite("a", r"\0\\"), "/a\\"),
        ("/a", None, None, "/a"),
    ],
)
def test_rewritten(
    target: str, matched: StringMatch | None, rewrite: UriRewrite | RegexRewrite | None, result: str
) -> None:
    """A prefix is replaced as text, anything else whole; a regex replaces every occurrence."""
    assert rewritten(target, matched, rewrite) == result


@pytest.mark.parametrize(
    ("redirect", "authority", "result"),
    [
        (Redirect(path="/new"), "a:81", "http://a:81/new?q=1"),
        (Redirect(path="/new?own"), "a", "http://a/new?own"),
        (Redirect(prefix="/other"), "a", "http://a/other/x?q=1"),
        (Redirect(authority="b"), "a:81", "http://b/old/x?q=1"),
        (Redirect(scheme="https"), "a:80", "https://a/old/x?q=1"),
        (Redirect(scheme="https"), "a:81", "https://a:81/old/x?q=1"),
        (Redirect(port=82), "a:81", "http://a:82/old/x?q=1"),
    ],
)
def test_location(redirect: Redirect, authority: str, result: str) -> None:
    """What a redirect does not say stays as it was, but for the default port of a scheme that goes."""
    request = Request(method="GET", target="/old/x?q=1", authority=authority)
    assert location(redirect, request, matched=Prefix("/old")) == result
