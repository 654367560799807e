"""A call, and what becomes of it."""

from typing import Literal

import msgspec

from core.ir.values import Delay, Headers
from core.model.config import Origin
from core.model.service import WorkloadKey
from core.view.upstream import Endpoint

Via = Literal["proxy", "tunnel", "virtual"]
"""How the application reaches its proxy: as an HTTP forward proxy, by CONNECT through it, or at a virtual address."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a workload to `host`:`port`. `protocol` "tcp" means bytes that are not HTTP: there is no request.

    `authority` "" is what clients send by themselves: the host, with the port unless it is 80. Header names are
    lower case. `path` includes the query.
    """

    source: WorkloadKey
    host: str
    port: int = 80
    via: Via = "proxy"
    protocol: Literal["http", "tcp"] = "http"
    method: str = "GET"
    path: str = "/"
    authority: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """`share` of the calls reach one of `endpoints`, with this authority and path and these header operations in order.

    `upstream` may stand for hosts outside the mesh; then there are no endpoints.
    """

    share: float
    upstream: str
    endpoints: tuple[Endpoint, ...]
    path: str = ""
    authority: str = ""
    headers: tuple[Headers, ...] = ()


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy answers `share` of the calls by itself. `flag` is Envoy's response flag where it sets one."""

    share: float
    status: int
    flag: str = ""
    location: str = ""
    body: bytes = b""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """`share` of the connections are not accepted, or closed without a byte."""

    share: float
    reason: str


class Step(msgspec.Struct, frozen=True):
    """One thing the proxy looked at, and the document behind it."""

    what: str
    name: str
    origin: Origin | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Shares add up to 1. `delay` comes before whatever else happens."""

    results: tuple[Arrived | Answered | Refused, ...]
    steps: tuple[Step, ...] = ()
    delay: Delay | None = None
