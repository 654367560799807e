"""Where a redirect leads."""

from core.ir.values import Redirect, StringMatch
from core.simulate.request import Request
from core.simulate.rewrite import replaced


def location(to: Redirect, request: Request, *, matched: StringMatch | None) -> str:
    """Where a redirect sends the client (Envoy `RedirectAction`)."""
    scheme = to.scheme or request.scheme
    host = to.authority or _kept_host(request, scheme, port=to.port)
    port = f":{to.port}" if to.port else ""
    return f"{scheme}://{host}{port}{_redirected(to, request.target, matched)}"


def _redirected(to: Redirect, target: str, matched: StringMatch | None) -> str:
    if to.path:
        query = "" if "?" in to.path else target[len(target.partition("?")[0]) :]
        return to.path + query
    return replaced(target, matched, to.prefix) if to.prefix else target


def _kept_host(request: Request, scheme: str, *, port: int) -> str:
    """The host called; its port goes when there is a new one, or when it was the default of the scheme that goes."""
    host, colon, number = request.authority.rpartition(":")
    default = {"http": "80", "https": "443"}[request.scheme]
    drop = port or (scheme != request.scheme and number == default)
    return host if colon and drop else request.authority
