"""Names: hosts, namespaces, labels, and where a document is visible. Rules of DNS (RFC 1123) and Kubernetes."""

import re
from collections.abc import Mapping

from core.kinds.findings import Context
from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

EVERYWHERE = ("*",)


def is_dns_label(text: str) -> bool:
    """RFC 1123: at most 63 of a-z, 0-9 and "-", not at the ends."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Labels joined by dots, at most 253 characters, lower case: what a document may be called."""
    return len(text) <= 253 and all(is_dns_label(label) for label in text.split("."))


def is_host(text: str) -> bool:
    """A full or short DNS name in any case; no wildcard."""
    return len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in text.split("."))


def is_ip(text: str) -> bool:
    if not (text[:1].isdigit() or ":" in text):
        return False
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def resolve(context: Context, host: str) -> str:
    """A name without a dot belongs to the document's namespace; anything else is meant literally. Lower case."""
    lowered = host.lower().rstrip(".")
    if "." in lowered or "*" in lowered or ":" in lowered:
        return lowered
    return f"{lowered}.{context.namespace}.svc.{context.mesh.domain_suffix}"


def host(context: Context, text: str, at: Origin) -> str:
    """The full name of one service; reports what cannot be one."""
    if not text:
        context.error(at, f"{_field(at)} is required", fix="name a service, for example reviews")
    elif "*" in text:
        context.error(at, f"{_field(at)} must be one service, not the wildcard {text!r}", fix="name the service")
    elif not is_host(text.rstrip(".")):
        context.error(at, f"{_field(at)} {text[:80]!r} is not a host name", fix=_HOST_FIX)
    return resolve(context, text)


def host_or_wildcard(context: Context, text: str, at: Origin) -> str:
    """As `host`, with "*" and "*.example.com" allowed."""
    if text == "*":
        return text
    if not text.startswith("*."):
        if "*" in text:
            fix = 'use "*" or "*.example.com"'
            context.error(at, f"{_field(at)} {text[:80]!r}: a wildcard must be the whole first label", fix=fix)
            return text.lower()
        return host(context, text, at)
    if not is_host(text[2:].rstrip(".")):
        context.error(at, f"{_field(at)} {text[:80]!r} is not a host name", fix=_HOST_FIX)
    return resolve(context, text)


_HOST_FIX = 'letters, digits and "-" in labels of at most 63 joined by dots, 253 characters at most'


def port(context: Context, number: int, at: Origin) -> int:
    if not 1 <= number <= 65535:
        context.error(at, f"the port must be from 1 to 65535, not {number}")
        return 0
    return number


def namespace(context: Context, text: str, at: Origin) -> str:
    if text and not is_dns_label(text):
        context.error(at, f"{_field(at)} {text[:80]!r} is not a namespace", fix=_LABEL_FIX)
    return text


_LABEL_FIX = 'at most 63 lower-case letters, digits and "-", beginning and ending with a letter or digit'


def subset(context: Context, text: str, at: Origin) -> str:
    if text and not is_dns_label(text):
        context.error(at, f"the subset name {text[:80]!r} is not a DNS label", fix=_LABEL_FIX)
    return text


def label_problem(key: str, value: str) -> str:
    """What is wrong with one label, "" when nothing is (Kubernetes: "Labels and Selectors", syntax)."""
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not is_dns_name(prefix)):
        return f"the label key {key[:80]!r} is not a valid name"
    if value and not _LABEL_NAME.fullmatch(value):
        return f"the value {value[:80]!r} of label {key!r} is not valid"
    return ""


def labels(context: Context, mapping: Mapping[str, str], at: Origin) -> Labels:
    for key, value in mapping.items():
        if problem := label_problem(key, value):
            fix = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
            context.error(at.at(key), problem, fix=fix)
    return Labels.of(mapping) if mapping else NO_LABELS


def visible_to(context: Context, export_to: tuple[str, ...], at: Origin) -> tuple[str, ...]:
    """Namespaces that see the document, "*" for all; "." is its own. Source: `exportTo` of the Istio APIs."""
    if not export_to:
        return EVERYWHERE
    result = tuple(_exported(context, text, at.at(i)) for i, text in enumerate(export_to))
    if len(set(result)) < len(result):
        context.error(at, 'exportTo names a namespace twice ("." is the document\'s own)', fix="keep one of them")
    if "*" in result and len(result) > 1:
        context.error(at, 'exportTo may not hold "*" beside other namespaces', fix='keep "*" alone, or take it out')
    return tuple(sorted(set(result)))


def _exported(context: Context, text: str, at: Origin) -> str:
    if text == ".":
        return context.namespace
    if text == "~":
        context.error(at, 'exportTo "~" (nobody) is for ServiceEntry only', fix='use "." for this namespace only')
    elif text != "*" and not is_dns_label(text):
        context.error(at, f"exportTo {text[:80]!r} is not a namespace", fix='"*", "." or the name of a namespace')
    return text


def _field(at: Origin) -> str:
    return at.path.rsplit(".", 1)[-1]
