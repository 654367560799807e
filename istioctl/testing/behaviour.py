"""How the test applications answer: the caller says it in request headers, so that a table can ask for any of it.

x-answer-status: 503          this status (gRPC: this code)
x-answer-delay: 0.3           so many seconds later
x-answer-reset: "true"        close the connection instead
x-answer-with-NAME: value     a response header NAME
x-answer-only: reviews-v1     all this holds for one workload only
x-answer-fail: 2              all this holds for the first so many tries of a request only
"""

from collections.abc import Mapping

import msgspec

_WITH = "x-answer-with-"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """`delay` in seconds. `reset`: the connection is closed without an answer."""

    status: int | None = None
    delay: float = 0.0
    reset: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def behaviour(app: str, headers: Mapping[str, str], *, earlier: int) -> Behaviour:
    """What `headers` ask of `app`, which has seen this request `earlier` times before."""
    extra = tuple((name.removeprefix(_WITH), value) for name, value in headers.items() if name.startswith(_WITH))
    spared = headers.get("x-answer-only", app) != app or earlier >= int(headers.get("x-answer-fail", "1000000"))
    if spared:
        return Behaviour(headers=extra)
    status = headers.get("x-answer-status")
    return Behaviour(
        status=int(status) if status else None,
        delay=float(headers.get("x-answer-delay", "0")),
        reset="x-answer-reset" in headers,
        headers=extra,
    )
