"""A request as proxies look at it: before any rule, and after each."""

from ipaddress import ip_address

import msgspec

from core.simulate.call import Call, Pairs
from core.simulate.rewrite import normalised


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`target` is the path with its query. Header names are lower case; repeated ones stand side by side."""

    method: str
    target: str
    authority: str
    scheme: str = "http"
    headers: Pairs = ()

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_grpc(self) -> bool:
        return any(value.startswith("application/grpc") for value in self.values("content-type"))

    def values(self, header: str) -> list[str]:
        return [value for name, value in self.headers if name == header]

    def parameter(self, name: str) -> str | None:
        """A query parameter as it is written, nothing decoded; of repeated ones the first (Envoy)."""
        parts = (part.partition("=") for part in self.target.partition("?")[2].split("&"))
        return next((value for key, _, value in parts if key == name), None)


def request_of(call: Call) -> Request:
    """What the proxy makes of a call when it comes in."""
    is_grpc = call.protocol == "grpc"
    plain = call.host if call.port == default_port(call) and not is_grpc else f"{call.host}:{call.port}"
    made = (("content-type", "application/grpc"),) if is_grpc else ()
    return Request(
        method="POST" if is_grpc else call.method,
        target=normalised(call.path),
        authority=undotted(call.authority or plain),
        scheme=_scheme(call),
        headers=(*made, *((name.lower(), value) for name, value in call.headers)),
    )


def first_caller(request: Request, address: str) -> str:
    """Who called first, as proxies inside the mesh believe it: the last in X-Forwarded-For, else who is connected."""
    said = ",".join(request.values("x-forwarded-for")).rpartition(",")[2].strip()
    try:
        return str(ip_address(said))
    except ValueError:
        return address


def default_port(call: Call) -> int:
    """The one that clients leave out beside the host."""
    return 80 if call.sni is None else 443


def undotted(authority: str) -> str:
    """`reviews.` is the host `reviews` (Envoy `strip_trailing_host_dot`)."""
    host, colon, port = authority.partition(":")
    return host.removesuffix(".") + colon + port


def _scheme(call: Call) -> str:
    """An absolute URL says it; else what an earlier hop wrote down (Envoy), for on this connection there is no TLS.

    Gateways believe nobody, and see whether there is.
    """
    if call.via == "gateway":
        return "http" if call.sni is None else "https"
    forwarded = next((value for name, value in call.headers if name.lower() == "x-forwarded-proto"), "http")
    return "https" if forwarded == "https" and call.via != "proxy" and call.protocol == "http" else "http"
