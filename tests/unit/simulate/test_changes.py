"""Changes of headers, step by step."""

from core.ir.values import HeaderOps
from core.simulate.changes import changed, formatted, joined
from core.simulate.request import Request

REQUEST = Request(method="GET", target="/a", authority="b", headers=(("x-user", "Jason"), ("x-user", "Ann")))


def test_each_step_sets_adds_and_removes_in_this_order() -> None:
    """A later step sees what an earlier one left."""
    steps = [
        HeaderOps(set=(("a", "1"),), add=(("a", "2"), ("b", "1")), remove=("c",)),
        HeaderOps(set=(("b", "2"),), add=(("c", "3"),)),
    ]
    found = changed((("A", "0"), ("c", "0"), ("d", "0"), ("D", "1")), steps, request=REQUEST)
    assert joined(found) == {"a": "1,2", "b": "2", "c": "3", "d": "0,1"}


def test_values_may_speak_of_the_request() -> None:
    """%REQ% with an alternative, and a percent sign; a missing header leaves nothing, other commands stay."""
    assert formatted("%REQ(X-User)%|%REQ(x-none?:path)%|%REQ(none)%", REQUEST) == "Jason|/a|"
    assert formatted("100%%|%PROTOCOL%", REQUEST) == "100%|%PROTOCOL%"


def test_repeated_headers_stay_apart_until_somebody_joins_them() -> None:
    """Most applications see them joined."""
    headers = changed((("a", "1"), ("A", "2"), ("b", "3")), [], request=REQUEST)
    assert headers == (("a", "1"), ("a", "2"), ("b", "3"))
    assert joined(headers) == {"a": "1,2", "b": "3"}
