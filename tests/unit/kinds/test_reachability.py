"""Routes that come too late: what is reported is true, and what people do by mistake is reported."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from core.ir.lowered import Lowered
from core.kinds.registry import lower
from core.model.config import ConfigKey, Document
from core.model.mesh import Mesh

LowerSpec = Callable[[str, object], Lowered]
Match = dict[str, object]

PATHS = ("/", "/a", "/A", "/ab", "/a/b", "/b")
URIS = st.sampled_from([{kind: path} for kind in ("exact", "prefix") for path in PATHS])
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "uri": URIS,
        "ignoreUriCase": st.booleans(),
        "method": st.sampled_from([{"exact": "GET"}, {"exact": "PUT"}]),
        "sourceNamespace": st.sampled_from(["x", "y"]),
    },
)
REQUESTS = [(path, method, ns) for path in (*PATHS, "/AB", "/A/b") for method in ("GET", "PUT") for ns in ("x", "y")]


def holds(match: Match, path: str, method: str, namespace: str) -> bool:
    """A second, obvious reading of a match."""
    uri = match.get("uri") or {"prefix": "/"}
    assert isinstance(uri, dict)
    ((kind, wanted),) = uri.items()
    if match.get("ignoreUriCase"):
        path, wanted = path.lower(), wanted.lower()
    fits = path == wanted if kind == "exact" else path.startswith(wanted)
    method_fits = match.get("method", {"exact": method}) == {"exact": method}
    return fits and method_fits and match.get("sourceNamespace", namespace) == namespace


def document(routes: list[list[Match]]) -> Document:
    import msgspec

    http = [{"match": matches, "route": [{"destination": {"host": "a"}}]} for matches in routes]
    key = ConfigKey("networking.istio.io", "VirtualService", "shop", "sample")
    return Document(key=key, spec=msgspec.json.encode({"hosts": ["a"], "http": http}))


@given(st.lists(st.lists(MATCHES, min_size=1, max_size=3), min_size=1, max_size=4))
def test_what_is_reported_never_gets_a_request(routes: list[list[Match]]) -> None:
    """For every request that a reported match would take, an earlier match of the rule takes it."""
    order = [(r, m) for r, matches in enumerate(routes) for m in range(len(matches))]
    for found in lower(document(routes), Mesh()).diagnostics:
        if found.code not in ("IST0130", "IST0131") or not found.origin:
            continue
        steps = [int(step.rstrip("]")) for step in found.origin.path.replace(".match", "").split("[")[1:]]
        late = [(r, m) for r, m in order if [r, m][: len(steps)] == steps]
        for at in late:
            for request in REQUESTS:
                if holds(routes[at[0]][at[1]], *request):
                    assert any(holds(routes[r][m], *request) for r, m in order if (r, m) < at)


def codes(lower_spec: LowerSpec, *routes: list[Match]) -> list[str]:
    http = [{"match": matches, "route": [{"destination": {"host": "a"}}]} for matches in routes]
    return [found.code for found in lower_spec("vs", {"hosts": ["a"], "http": http}).diagnostics]


def test_what_takes_everything(lower_spec: LowerSpec) -> None:
    """No match, an empty match, prefix / and regex .* take every request, so the next route is unreachable."""
    later: list[Match] = [{"uri": {"exact": "/a"}, "headers": {"x": {"exact": "y"}}}]
    empty: Match = {}
    everything: tuple[list[Match], ...] = ([], [empty], [{"uri": {"prefix": "/"}}], [{"uri": {"regex": ".*"}}])
    for first in everything:
        assert codes(lower_spec, first, later) == ["IST0130"]


def test_what_takes_not_everything(lower_spec: LowerSpec) -> None:
    """A condition beside the path, other callers or another gateway leave something for the next route."""
    some: tuple[Match, ...] = (
        {"headers": {"x": {}}},
        {"sourceNamespace": "b"},
        {"port": 80},
        {"gateways": ["g"]},
        {"method": {"exact": "GET"}},
    )
    for first in some:
        assert codes(lower_spec, [first], []) == []
    assert codes(lower_spec, [], [{"gateways": ["g"]}]) == []


def test_equal_matches_in_two_routes(lower_spec: LowerSpec) -> None:
    """The order of conditions and the case of header names make no difference."""
    first: Match = {"headers": {"X-A": {"exact": "1"}, "x-b": {}}, "uri": {"regex": "/x+"}}
    second: Match = {"uri": {"regex": "/x+"}, "headers": {"x-b": {}, "x-a": {"exact": "1"}}}
    assert codes(lower_spec, [first], [second]) == ["IST0130"]


def test_the_cost_is_linear() -> None:
    """Five thousand routes are compared in a moment; every pair would take minutes."""
    routes: list[list[Match]] = [[{"uri": {"prefix": f"/service-{n}/"}}] for n in range(5000)]
    assert lower(document(routes), Mesh()).diagnostics == ()
