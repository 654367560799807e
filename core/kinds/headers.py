"""Header names, values and operations, held to what Envoy takes: a NACK would be our failure, not the user's."""

import re
from collections import Counter
from collections.abc import Mapping

import msgspec

from core.ir.values import HeaderOps, Headers
from core.kinds import formats
from core.kinds.findings import Context
from core.kinds.kind import Spec
from core.model.config import Origin

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_AUTHORITY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:\[\]-]{1,255}")
_BAD_IN_VALUE = re.compile(r"[\x00\r\n]")

LONGEST = 16384
"""Bytes in a header name or value (Envoy `core.v3.HeaderValue`)."""

AUTHORITY = frozenset({"host", ":authority"})


class HeaderOperationsSpec(Spec, frozen=True):
    set: dict[str, str] = msgspec.field(default_factory=dict)
    add: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()


class HeadersSpec(Spec, frozen=True):
    request: HeaderOperationsSpec | None = None
    response: HeaderOperationsSpec | None = None


_NOTHING = HeaderOperationsSpec()


def name(context: Context, text: str, at: Origin) -> str:
    """A header's name (RFC 9110 §5.1) in lower case; pseudo headers are not among them."""
    if text.startswith(":"):
        context.error(at, f"{text!r} is a pseudo header, which rules cannot use here", fix=_pseudo(text))
    elif not is_name(text):
        fix = "letters, digits and - _ . ! # $ % & ' * + ^ ` | ~"
        context.error(at, f"{text[:80]!r} is not a header name", fix=fix)
    return text.lower()


def is_name(text: str) -> bool:
    """Whether this can be a header's name in any case; pseudo headers are none."""
    return len(text) <= LONGEST and _TOKEN.fullmatch(text) is not None


def _pseudo(text: str) -> str:
    instead = {":path": "uri", ":method": "method", ":scheme": "scheme", ":authority": "authority"}.get(text.lower())
    return f"use the field {instead}" if instead else "name an ordinary header"


def authority(context: Context, text: str, at: Origin) -> str:
    """A host with or without a port, as the Host header carries it (RFC 9110 §7.2); taken literally."""
    if text and not _AUTHORITY.fullmatch(text):
        fix = "write a host name, with :port where that is needed"
        context.error(at, f"{text[:80]!r} cannot be the host of a request", fix=fix)
    return text


def template(context: Context, text: str, at: Origin) -> str:
    """A value with Envoy's substitution commands (`%REQ(x-id)%`); a percent sign is written twice."""
    problem, fix = formats.problem(text)
    if problem:
        context.error(at, f"the header value is not valid: {problem}", fix=fix)
    return value(context, text, at)


def value(context: Context, text: str, at: Origin) -> str:
    """A header's value: no NUL, carriage return or line feed, at most 16 KiB."""
    if _BAD_IN_VALUE.search(text):
        context.error(at, "a header value must not hold NUL, carriage return or line feed", fix="take it out")
    elif len(text.encode()) > LONGEST:
        context.error(at, f"the header value is longer than {LONGEST} bytes")
    return text


def lower(context: Context, spec: HeadersSpec | None, at: Origin) -> tuple[Headers, str]:
    """The operations, and the authority that the request gets by setting Host ("" when it does not)."""
    if spec is None:
        return Headers(), ""
    request, host = _operations(context, spec.request or _NOTHING, at.at("request"))
    response, forbidden = _operations(context, spec.response or _NOTHING, at.at("response"))
    if forbidden:
        context.error(at.at("response").at("set"), "Host is a header of requests", fix="set it on the request")
    return Headers(request, response), host


def _operations(context: Context, spec: HeaderOperationsSpec, at: Origin) -> tuple[HeaderOps, str]:
    for key in (key for key in spec.add if key.lower() in AUTHORITY):
        context.error(at.at("add").at(key), f"{key} cannot be added to, only set", fix="move it to set")
    return (
        HeaderOps(
            _pairs(context, spec.set, at.at("set")),
            _pairs(context, spec.add, at.at("add")),
            tuple(_removed(context, key, at.at("remove").at(i)) for i, key in enumerate(spec.remove)),
        ),
        _set_authority(context, spec.set, at.at("set")),
    )


def _set_authority(context: Context, mapping: Mapping[str, str], at: Origin) -> str:
    """What Host or :authority is set to: Envoy does that with a rewrite, not with a header."""
    given = {key: text for key, text in mapping.items() if key.lower() in AUTHORITY}
    if len(given) > 1:
        context.error(at, f"{' and '.join(given)} are the same header", fix="keep one")
    for key, text in given.items():
        if not text:
            context.error(at.at(key), f"{key} must not be empty", fix="write a host, or take it out")
        return authority(context, text, at.at(key))
    return ""


def _pairs(context: Context, mapping: Mapping[str, str], at: Origin) -> tuple[tuple[str, str], ...]:
    pairs = tuple(
        (name(context, key, at.at(key)), template(context, text, at.at(key)))
        for key, text in mapping.items()
        if key.lower() not in AUTHORITY
    )
    once(context, [key for key, _ in pairs], at)
    return pairs


def once(context: Context, names: list[str], at: Origin) -> None:
    """Reports names that are the same header, written in different case."""
    for double in sorted(key for key, count in Counter(names).items() if count > 1):
        context.error(at, f"the header {double} is given twice; case makes no difference", fix="keep one")


def _removed(context: Context, key: str, at: Origin) -> str:
    if key.lower() in AUTHORITY:
        context.error(at, f"{key} cannot be removed from a request", fix="take it out")
        return key.lower()
    return name(context, key, at)
