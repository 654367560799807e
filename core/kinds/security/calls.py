"""What AuthorizationPolicies compare calls with: each text of theirs as a test of `core.ir.access`.

Source: Istio `AuthorizationPolicy` (`Source`, `Operation`, `Condition`), and what its proxies make of them. Wildcards
stand at the beginning or at the end of a text: `*`, `abc*`, `*abc`.
"""

import re
from collections.abc import Callable
from typing import Final

from core.ir.access import (
    Address,
    Destination,
    Header,
    Identity,
    Never,
    Operation,
    Port,
    ServerName,
    Source,
    Suffix,
    TextMatch,
    UrlPath,
)
from core.ir.values import Exact, Prefix, Present, Regex
from core.kinds import headers
from core.kinds.findings import UNSUPPORTED, Context
from core.model.config import Origin

ToSource = Callable[[Context, str, Origin], Source]
ToOperation = Callable[[Context, str, Origin], Operation]

_SPIFFE = "spiffe://"
_OF_ANY_DOMAIN = f"{_SPIFFE}[^/]+"
_OWN_DOMAIN = "cluster.local"
"""In a principal it stands for the mesh's own trust domain, whatever that is called (Istio)."""


def text(value: str) -> TextMatch:
    if value == "*":
        return Regex(".+")
    if value.startswith("*"):
        return Suffix(value[1:])
    return Prefix(value[:-1]) if value.endswith("*") else Exact(value)


def _inner_wildcard(context: Context, value: str, at: Origin) -> None:
    if "*" in value.removeprefix("*").removesuffix("*") or (len(value) > 1 and value[0] == value[-1] == "*"):
        message = f"in {value[:80]!r} only a * at the beginning or at the end stands for anything: another is itself"
        context.warn(at, message, fix="write exact values, a prefix with * behind it, or a suffix with * before it")


# -- who calls ---------------------------------------------------------------------------------------------------------


def principal(context: Context, value: str, at: Origin) -> Source:
    """`<trust domain>/ns/<namespace>/sa/<service account>`."""
    _inner_wildcard(context, value, at)
    if value.startswith(_SPIFFE):
        context.warn(at, f"principals are written without {_SPIFFE}: this one is nobody's", fix=f"leave {_SPIFFE} out")
    if value == "*":
        return Identity(Regex(".+"))
    if value.startswith("*"):
        return Identity(Regex(f"{_SPIFFE}.*{re.escape(value[1:])}"))
    domain, slash, rest = value.partition("/")
    if slash and domain == _OWN_DOMAIN:
        value = f"{context.mesh.trust_domain}/{rest}"
    return Identity(Prefix(_SPIFFE + value[:-1]) if value.endswith("*") else Exact(_SPIFFE + value))


def namespace(context: Context, value: str, at: Origin) -> Source:
    _inner_wildcard(context, value, at)
    return Identity(Regex(f"{_OF_ANY_DOMAIN}/ns/{_within_segment(value)}/.*"))


def service_account(context: Context, value: str, at: Origin) -> Source:
    """`<namespace>/<name>`, or a name in the document's own namespace."""
    space, slash, name = value.rpartition("/")
    if not name or "/" in space or "*" in value or (slash and not space):
        context.error(at, f"{value[:80]!r} is not a service account", fix='write "name" or "namespace/name"')
    return Identity(Regex(f"{_OF_ANY_DOMAIN}/ns/{re.escape(space or context.namespace)}/sa/{re.escape(name)}"))


def trust_domain(context: Context, value: str, at: Origin) -> Source:
    _inner_wildcard(context, value, at)
    return Identity(Regex(f"{_SPIFFE}{_within_segment(value)}/.*"))


def _within_segment(value: str) -> str:
    """As a regular expression, for one part of an identity: a wildcard does not reach beyond it."""
    return "[^/]*".join(re.escape(each) for each in value.split("*"))


def caller_address(context: Context, value: str, at: Origin) -> Source:
    return Address(_network(context, value, at))


def first_address(context: Context, value: str, at: Origin) -> Source:
    return Address(_network(context, value, at), "request")


def token(context: Context, value: str, at: Origin) -> Source:
    """Identities in tokens. Nobody verifies tokens yet, so no request has one."""
    message = "tokens of requests are not verified yet (RequestAuthentication): no request has such an identity"
    context.warn(at, message, fix="allow by principals, namespaces or addresses", code=UNSUPPORTED)
    return Never()


def _network(context: Context, value: str, at: Origin) -> str:
    from ipaddress import ip_network

    try:
        # A zone ("%eth0") is this machine's own business, and proxies refuse it.
        found = ip_network(value.replace("%", "/"), strict=False)
        mapped = getattr(found.network_address, "ipv4_mapped", None)
        # Nobody calls from such an address (RFC 4291 §2.5.5.2): he does from the one within it.
        return f"{mapped}/{found.prefixlen - 96}" if mapped and found.prefixlen >= 96 else str(found)
    except ValueError:
        fix = "write 10.1.2.3, or a range as 10.1.0.0/16"
        context.error(at, f"{value[:80]!r} is neither an address nor a range of addresses", fix=fix)
        return "0.0.0.0/32"


# -- what is called ----------------------------------------------------------------------------------------------------


_SOMEBODY: Final = "([^@]*@)?"
"""RFC 3986 §3.2: what may stand before a host."""


def host(context: Context, value: str, at: Origin) -> Operation:
    """In any case; one that is written without a port is meant with any.

    Nobody gets round it by what is the same host to applications: somebody's name before it, a dot or colon behind it.
    """
    _inner_wildcard(context, value, at)
    if value == "*":
        return Header(":authority", Present())
    if value.endswith("*"):
        return Header(":authority", Regex(f"(?i){_SOMEBODY}{re.escape(value[:-1])}.*"))
    before, body = (".*", value[1:]) if value.startswith("*") else (_SOMEBODY, value)
    port = "" if re.search(r":[0-9]+$", body) else r"\.*(:[0-9]*)?"
    return Header(":authority", Regex(f"(?i){before}{re.escape(body)}{port}"))


def method(context: Context, value: str, at: Origin) -> Operation:
    return _header(":method", context, value, at)


def path(context: Context, value: str, at: Origin) -> Operation:
    if "{" in value or "}" in value:
        return UrlPath(_template(context, value, at))
    _inner_wildcard(context, value, at)
    return UrlPath(text(value))


_PLACES: Final = {"{*}": "[^/]+", "{**}": ".*"}


def _template(context: Context, value: str, at: Origin) -> TextMatch:
    """`{*}` stands for one segment, `{**}` for any number of them, and comes last of these."""
    parts = re.split(r"(\{\*\*?\})", value)
    segments = value.split("/")
    whole = all(segment in _PLACES or not set("{}*") & set(segment) for segment in segments)
    late = "{**}" in value and "{" in value.partition("{**}")[2]
    if not value.startswith("/") or not whole or late:
        message = f"{value[:80]!r} is not a path template"
        fix = "write whole segments: /a/{*}/b for any one, /a/{**} for all below, which nothing in braces follows"
        context.error(at, message, fix=fix)
    return Regex("".join(_PLACES.get(each) or re.escape(each) for each in parts))


def port(context: Context, value: str, at: Origin) -> Operation:
    number = int(value) if value.isascii() and value.isdecimal() and len(value) <= 5 else 0
    if not 1 <= number <= 65535:
        context.error(at, f"{value[:80]!r} is not a port from 1 to 65535", fix="write one number, in quotes")
    return Port(number)


def own_address(context: Context, value: str, at: Origin) -> Operation:
    return Destination(_network(context, value, at))


def server_name(context: Context, value: str, at: Origin) -> Operation:
    _inner_wildcard(context, value, at)
    return ServerName(text(value))


def header(name: str) -> ToOperation:
    """`host` is where HTTP/1 writes what is called `:authority`."""
    meant = ":authority" if name == "host" else name
    return lambda context, value, at: _header(meant, context, value, at)


def _header(name: str, context: Context, value: str, at: Origin) -> Operation:
    _inner_wildcard(context, value, at)
    return Header(name, Present() if value == "*" else text(value))


# -- keys of conditions ------------------------------------------------------------------------------------------------

SOURCES: Final[dict[str, ToSource]] = {
    "source.ip": caller_address,
    "remote.ip": first_address,
    "source.namespace": namespace,
    "source.principal": principal,
    "source.serviceAccount": service_account,
    "source.trustDomain": trust_domain,
    "request.auth.principal": token,
    "request.auth.audiences": token,
    "request.auth.presenter": token,
}
OPERATIONS: Final[dict[str, ToOperation]] = {
    "destination.ip": own_address,
    "destination.port": port,
    "connection.sni": server_name,
}
_HEADER = re.compile(r"request\.headers\[([^\[\]]+)\]")
_CLAIM = re.compile(r"request\.auth\.claims(\[[^\[\]]+\])+")


def source_of(key: str) -> ToSource | None:
    """How a condition of this key asks who calls; None for other keys."""
    return token if _CLAIM.fullmatch(key) else SOURCES.get(key)


def operation_of(key: str) -> ToOperation | None:
    """How a condition of this key asks what is called; None for other keys."""
    found = _HEADER.fullmatch(key)
    return header(found[1].lower()) if found is not None and headers.is_name(found[1]) else OPERATIONS.get(key)
