"""The tables themselves: read strictly, enough of them, and judged by what they say and nothing else."""

from pathlib import Path

import pytest

from core.diagnostics import Severity
from istioctl.testing.chance import bounds
from istioctl.testing.journal import Arrival
from istioctl.testing.judge import copies_real, disagreements, problems, tries
from istioctl.testing.observed import Observed
from istioctl.testing.offline import StillMesh
from istioctl.testing.runner import rules_of
from istioctl.testing.table import Expect, MirrorSpec, Present, TableError, captured, decode, load
from platforms.local.plan import Plan

CASES = load(Path(__file__).parent)

TABLE = """
groups:
- name: g
  cases:
  - name: c
    call: {{host: reviews, {call}}}
    expect: {{{expect}}}
    {more}
"""


def test_at_least_sixty_cases_run_on_both() -> None:
    """Those for real proxies only, and further ways in, do not count (issue 2)."""
    both = {(case.table, case.group, case.spec.name) for case in CASES if case.spec.only is None}
    assert len(both) >= 60


def test_every_document_in_the_tables_is_valid(plan: Plan) -> None:
    """A rule that is refused would make its case say nothing."""
    for rules in dict.fromkeys(rules_of(case, outside=1) for case in CASES):
        found = StillMesh(plan, rules=rules).diagnostics()
        assert not [str(finding) for finding in found if finding.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("call", "expect", "more", "said"),
    [
        ("hosst: x", "status: 200", "", "hosst"),
        ("port: 1", "statsu: 200", "", "statsu"),
        ("port: 1", "status: '200'", "", "Expected `int"),
        ("port: inside", "status: 200", "", "inside"),
        ("via: pigeon", "status: 200", "", "pigeon"),
        ("port: 1", "", "", "expects nothing"),
        ("port: 1", "shares: {a: 0.5}", "", "do not add up"),
        ("protocol: tcp", "app: a", "", "via proxy"),
        ("port: 1", "sticks: true", "", "only: envoy"),
        ("port: 1", "app: a", "before: {times: 1, headers: {}}", "only: envoy"),
        ("port: 1", "app: a", "only: simulator", "simulator"),
        ("port: 1", "request-headers: {x: 1}", "", "request-headers"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_case(call: str, expect: str, more: str, said: str) -> None:
    """Nothing is guessed, nothing is ignored."""
    with pytest.raises(TableError) as refused:
        decode(TABLE.format(call=call, expect=expect, more=more), file="t.yaml")
    assert str(refused.value).startswith("t.yaml: g: c: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [}", "is not YAML"),
        ("rows: []", "rows"),
        ("groups: [{name: g, cases: [], case: []}]", "case"),
        ("groups: [{name: g, cases: [{nam: c}]}]", "a case without a name"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(text: str, said: str) -> None:
    """So is one whose groups are not as they should be."""
    with pytest.raises(TableError) as refused:
        decode(text, file="t.yaml")
    assert str(refused.value).startswith("t.yaml: ")
    assert said in str(refused.value)


def test_two_cases_of_one_name_are_refused() -> None:
    """A name is how a failure is told."""
    case = "{name: c, call: {host: a}, expect: {status: 200}}"
    with pytest.raises(TableError, match="two cases"):
        decode(f"groups: [{{name: g, cases: [{case}, {case}]}}]", file="t.yaml")


def test_one_case_for_each_way_in() -> None:
    """`via` may be a list."""
    found = decode(TABLE.format(call="via: [proxy, virtual]", expect="status: 200", more=""), file="t.yaml")
    assert [(case.call.via, case.id) for case in found] == [("proxy", "t/g/c/proxy"), ("virtual", "t/g/c/virtual")]


def test_captured_calls_know_of_no_way_in() -> None:
    """Of several ways one is left; what is otherwise is judged by that; who comes from outside, comes as ever."""
    otherwise = "redirect: {why: w, expect: {app: b}}"
    (found,) = captured(
        decode(TABLE.format(call="via: [proxy, virtual]", expect="app: a", more=otherwise), file="t.yaml")
    )
    assert (found.call.via, found.id, found.expect) == ("captured", "t/g/c", Expect(app="b"))
    (found,) = captured(decode(TABLE.format(call="via: inbound", expect="app: a", more=""), file="t.yaml"))
    assert (found.call.via, found.expect) == ("inbound", Expect(app="a"))
    assert not captured(
        decode(TABLE.format(call="via: tunnel", expect="app: a", more="redirect: {why: w}"), file="t.yaml")
    )


SEEN = Observed(
    share=1.0,
    who="a",
    status=200,
    seen=True,
    path="/",
    authority="a:80",
    request={"x": "1"},
    response={"y": "2", "location": "/l"},
    body=b"text",
    elapsed=0.5,
)


@pytest.mark.parametrize(
    "expect",
    [
        Expect(app="b"),
        Expect(shares={"a": 0.5, "b": 0.5}),
        Expect(reaches=("a", "b")),
        Expect(status=503),
        Expect(grpc="OK"),
        Expect(flag="UH"),
        Expect(closed=True),
        Expect(path="/x"),
        Expect(authority="a"),
        Expect(request_headers={"x": "2"}),
        Expect(request_headers={"x": None}),
        Expect(request_headers={"z": Present(present=True)}),
        Expect(response_headers={"y": "1"}),
        Expect(location="/"),
        Expect(body="other"),
        Expect(delay=0.6),
        Expect(within=0.4),
    ],
)
def test_each_expectation_can_fail(expect: Expect) -> None:
    """An expectation that nothing contradicts would be none."""
    assert problems(expect, [SEEN], times=0)


def test_what_is_as_expected_is_no_problem() -> None:
    """All of them together, fulfilled."""
    expect = Expect(
        app="a",
        reaches=("a",),
        sticks=True,
        status=200,
        path="/",
        authority="a:80",
        request_headers={"X": "1", "z": None, "x": Present(present=True)},
        response_headers={"y": "2"},
        location="/l",
        body="ex",
        delay=0.5,
        within=0.5,
    )
    assert not problems(expect, [SEEN], times=0)


def test_stickiness_can_fail() -> None:
    """Two workloads answered."""
    other = Observed(share=0.5, who="b")
    assert problems(Expect(sticks=True), [Observed(share=0.5, who="a"), other], times=2)


def test_copies_and_tries_can_fail() -> None:
    """Too few of them, others, and from elsewhere."""
    copy = Arrival(app="a", authority="x-shadow:80")
    wanted = MirrorSpec(app="a", authority="x-shadow:80")
    assert not list(copies_real(wanted, [copy], times=1))
    assert list(copies_real(wanted, [], times=1))
    assert list(copies_real(wanted, [Arrival(app="b", authority="x-shadow:80")], times=1))
    assert not list(tries(1, [copy, Arrival(app="a")], times=1))
    assert list(tries(2, [copy, Arrival(app="a")], times=1))


def test_disagreement_is_seen() -> None:
    """In who answers, and in what the application got."""
    assert not disagreements([SEEN], [SEEN])
    for field, value in (("who", "b"), ("status", 201), ("path", "/x"), ("request", {"x": "2"}), ("elapsed", 0.1)):
        changed = {name: getattr(SEEN, name) for name in SEEN.__struct_fields__} | {field: value}
        assert disagreements([SEEN], [Observed(**changed)]), field


def test_bounds_leave_room_for_chance_and_for_nothing_else() -> None:
    """Certain things are certain; 300 calls tell a half from a third, but allow for one in a million."""
    assert bounds(300, 0.0) == (0, 0)
    assert bounds(300, 1.0) == (300, 300)
    low, high = bounds(300, 0.5)
    assert 300 / 3 < low < 150 < high < 300 * 2 / 3
    assert low > 150 - 6 * 75**0.5
