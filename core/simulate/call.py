"""A call, and what becomes of it."""

from typing import Literal

import msgspec

from core.ir.traffic import HashKey
from core.ir.values import Delay, HeaderOps, Retry
from core.model.config import Origin
from core.model.service import WorkloadKey
from core.view.upstream import Endpoint

Via = Literal["proxy", "tunnel", "virtual", "captured", "gateway", "inbound"]
"""How the application reaches its proxy: as an HTTP forward proxy, by CONNECT through it, at a virtual address that the
proxy listens on, or (capture `redirect`) without knowing: it calls whatever it likes, and the kernel leads it there.
"gateway": no application of the mesh at all, but somebody outside, who calls a gateway. "inbound": somebody without a
proxy, who calls a workload's proxy as another proxy would."""

Shown = Literal["nobody", "mesh", "foreign", "expired", "elsewhere", "nameless"]
"""Whose certificate a caller shows inside TLS: none, one of the mesh that is valid, another authority's, an old one; or
one by the mesh's authority, but for another trust domain, or without a SPIFFE ID."""

Pairs = tuple[tuple[str, str], ...]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a workload to `host`:`port`.

    `protocol` "http" is HTTP/1.1, "grpc" a unary call (HTTP/2, `path` is the method's), "tcp" means bytes that are not
    HTTP: then there is no request. `authority` "" is what clients send by themselves: the host, with the port unless
    it is 80 (gRPC: always). Header names are lower case; a repeated one stands several times. `path` includes the
    query. Via "gateway", `source` is the gateway's workload, `port` the one that documents name, and `sni` the server
    name in the TLS handshake: "" is TLS without one, None no TLS. Via "inbound", `source` is the workload that is
    called, and with `shown` the caller speaks the mesh's mutual TLS; None: plain bytes.

    `identity` is the SPIFFE ID in the caller's certificate, where it is shown, and `address` where the connection to
    the called proxy comes from: policies ask for both.
    """

    source: WorkloadKey
    sni: str | None = None
    shown: Shown | None = None
    host: str
    port: int = 80
    via: Via = "proxy"
    protocol: Literal["http", "grpc", "tcp"] = "http"
    method: str = "GET"
    path: str = "/"
    authority: str = ""
    headers: Pairs = ()
    identity: str = ""
    address: str = "127.0.0.1"


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """`share` of the calls reach one of `endpoints`, each as often as its weight says.

    `authority`, `path` and `headers` are as the application gets them; of the headers only those that the caller sent
    or a rule made. `response` is done to the answer's headers, in this order.
    `upstream` may stand for hosts outside the mesh; then there are no endpoints. `timeout` is in milliseconds, 0: none.
    """

    share: float
    upstream: str
    endpoints: tuple[Endpoint, ...]
    path: str = ""
    authority: str = ""
    headers: Pairs = ()
    response: tuple[HeaderOps, ...] = ()
    timeout: int = 0
    retry: Retry | None = None
    hash_key: HashKey | None = None

    def chances(self) -> tuple[tuple[Endpoint, float], ...]:
        """Each endpoint with its part of all calls; they add up to `share`."""
        total = sum(endpoint.weight for endpoint in self.endpoints)
        return tuple((endpoint, self.share * endpoint.weight / total) for endpoint in self.endpoints)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy answers `share` of the calls by itself.

    `flag` is Envoy's response flag where it sets one. `grpc` is the status that gRPC clients see; None for others.
    `headers` are those that rules give the answer.
    """

    share: float
    status: int
    grpc: int | None = None
    flag: str = ""
    location: str = ""
    body: bytes = b""
    headers: Pairs = ()


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """`share` of the connections are not accepted, or closed without a byte."""

    share: float
    reason: str


class Mirrored(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of `share` of the calls goes to `upstream` under this authority; its answer is dropped."""

    share: float
    upstream: str
    endpoints: tuple[Endpoint, ...]
    authority: str


Result = Arrived | Answered | Refused


class Step(msgspec.Struct, frozen=True):
    """One thing the proxy looked at, and the document behind it."""

    what: str
    name: str
    origin: Origin | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of `results` add up to 1. `delay` comes before whatever else happens."""

    results: tuple[Result, ...]
    mirrors: tuple[Mirrored, ...] = ()
    steps: tuple[Step, ...] = ()
    delay: Delay | None = None
