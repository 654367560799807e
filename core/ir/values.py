"""Small values that rules and what is compiled from them share. Durations are whole milliseconds."""

from typing import Literal

import msgspec


class Inherit(msgspec.Struct, frozen=True, tag=True):
    """The document says nothing; a wider rule, the mesh or the built-in default decides."""


INHERIT = Inherit()


class Exact(msgspec.Struct, frozen=True, tag=True):
    value: str


class Prefix(msgspec.Struct, frozen=True, tag=True):
    value: str


class Regex(msgspec.Struct, frozen=True, tag=True):
    """RE2 syntax; the whole text must match."""

    value: str


class Present(msgspec.Struct, frozen=True, tag=True):
    """There, with any value."""


StringMatch = Exact | Prefix | Regex
ValueMatch = Exact | Prefix | Regex | Present


class HeaderOps(msgspec.Struct, frozen=True):
    """`set` overwrites, `add` appends, `remove` drops; applied in this order of fields."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


class Headers(msgspec.Struct, frozen=True):
    """What is done to the headers of requests and of responses."""

    request: HeaderOps = HeaderOps()
    response: HeaderOps = HeaderOps()

    def __bool__(self) -> bool:
        return bool(self.request or self.response)


NO_HEADERS = Headers()


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` counts retries, not the first try; 0 turns retrying off. `per_try_timeout` 0: the route's own."""

    attempts: int
    per_try_timeout: int = 0
    conditions: tuple[str, ...] = ("connect-failure", "refused-stream", "unavailable", "cancelled")
    status_codes: tuple[int, ...] = ()
    ignore_previous_hosts: bool = True


DEFAULT_RETRY = Retry(attempts=2)
"""Istio's default for HTTP routes that say nothing."""


class Delay(msgspec.Struct, frozen=True):
    """`per_million` requests wait `duration` before they are forwarded."""

    duration: int
    per_million: int


class Abort(msgspec.Struct, frozen=True):
    """`per_million` requests are answered with `status`: of HTTP, or of gRPC."""

    status: int
    per_million: int
    kind: Literal["http", "grpc"] = "http"


class Fault(msgspec.Struct, frozen=True):
    delay: Delay | None = None
    abort: Abort | None = None


class UriRewrite(msgspec.Struct, frozen=True, tag=True):
    """Replaces what the match of the path covered: the prefix, or for other matches the whole path."""

    value: str


class RegexRewrite(msgspec.Struct, frozen=True, tag=True):
    """RE2; `substitution` may use \\1 …"""

    pattern: str
    substitution: str


class Rewrite(msgspec.Struct, frozen=True):
    path: UriRewrite | RegexRewrite | None = None
    authority: str = ""


class Redirect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`path` replaces the whole path, `prefix` what a prefix match covered; "" or 0 keeps what the request had."""

    scheme: str = ""
    authority: str = ""
    port: int = 0
    path: str = ""
    prefix: str = ""
    code: int = 301


class Respond(msgspec.Struct, frozen=True, tag=True):
    """The proxy answers by itself."""

    status: int
    body: bytes = b""
