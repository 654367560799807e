"""Matches of HTTP requests in a VirtualService (`HTTPMatchRequest`): their spec, rules and lowering."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from core.diagnostics import Severity
from core.ir.routing import ANY_SOURCE, MESH, Match, RequestMatch, Source
from core.ir.values import Exact, Prefix, Present, Regex, StringMatch, ValueMatch
from core.kinds import headers, names, regexes
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Spec
from core.model.config import Origin
from core.model.labels import NO_LABELS

_CLAIMS = "@request.auth."
_NOT_HEADERS = frozenset({"uri", "scheme", "method", "authority"})


class StringMatchSpec(Spec, frozen=True):
    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HttpMatchSpec(Spec, frozen=True):
    name: str = ""
    uri: StringMatchSpec | None = None
    scheme: StringMatchSpec | None = None
    method: StringMatchSpec | None = None
    authority: StringMatchSpec | None = None
    headers: dict[str, StringMatchSpec] = msgspec.field(default_factory=dict)
    without_headers: dict[str, StringMatchSpec] = msgspec.field(default_factory=dict)
    query_params: dict[str, StringMatchSpec] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool = False
    port: int | None = None
    source_labels: dict[str, str] = msgspec.field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = {"statPrefix": Severity.WARNING}


def lower(context: Context, spec: HttpMatchSpec, at: Origin) -> Match:
    return Match(name=spec.name, source=_source(context, spec, at), request=_request(context, spec, at), origin=at)


def gateway(context: Context, text: str, at: Origin) -> str:
    """`mesh`, or the full `namespace/name` of a Gateway; a bare name is in the document's namespace."""
    if text == MESH:
        return text
    namespace, slash, name = text.rpartition("/")
    if not names.is_dns_name(name) or (slash and not names.is_dns_label(namespace)):
        context.error(at, f"{text[:80]!r} is not the name of a gateway", fix='write "name", "namespace/name" or "mesh"')
    elif "." in name:
        message = f"the gateway name {text!r} looks like a host name; a gateway is named namespace/name"
        context.warn(at, message, fix="write namespace/name")
    return text if slash else f"{context.namespace}/{text}"


def _source(context: Context, spec: HttpMatchSpec, at: Origin) -> Source:
    if spec.port is None and not (spec.source_labels or spec.source_namespace or spec.gateways):
        return ANY_SOURCE
    labels = names.labels(context, spec.source_labels, at.at("sourceLabels")) if spec.source_labels else NO_LABELS
    gateways = tuple(gateway(context, text, at.at("gateways").at(i)) for i, text in enumerate(spec.gateways))
    port = 0 if spec.port is None else names.port(context, spec.port, at.at("port"))
    return Source(labels, names.namespace(context, spec.source_namespace, at.at("sourceNamespace")), gateways, port)


def _request(context: Context, spec: HttpMatchSpec, at: Origin) -> RequestMatch:
    return RequestMatch(
        path=_path(context, spec, at),
        ignore_path_case=spec.ignore_uri_case and spec.uri is not None and spec.uri.regex is None,
        scheme=_optional(context, spec.scheme, at.at("scheme")),
        method=_optional(context, spec.method, at.at("method")),
        authority=_optional(context, spec.authority, at.at("authority")),
        headers=_values(context, spec.headers, at.at("headers"), _header),
        without_headers=_values(context, spec.without_headers, at.at("withoutHeaders"), _header),
        query=_values(context, spec.query_params, at.at("queryParams"), _query),
    )


def _path(context: Context, spec: HttpMatchSpec, at: Origin) -> StringMatch | None:
    path = _optional(context, spec.uri, at.at("uri"))
    if spec.ignore_uri_case and (path is None or isinstance(path, Regex)):
        context.warn(
            at.at("ignoreUriCase"),
            "ignoreUriCase has an effect on exact and prefix matches of uri only",
            fix="write (?i) at the beginning of the regex" if path else "take it out",
        )
    if isinstance(path, Exact | Prefix) and path.value and (problem := _path_problem(path)):
        context.warn(at.at("uri"), f"the path {path.value[:80]!r} never matches: {problem}", fix="correct the path")
    return path


def _path_problem(path: Exact | Prefix) -> str:
    if not path.value.startswith("/") and path.value != "*":
        return "every path begins with /"
    return "the path ends before ? and #" if "?" in path.value or "#" in path.value else ""


def _optional(context: Context, spec: StringMatchSpec | None, at: Origin) -> StringMatch | None:
    if spec is None:
        return None
    result = lower_text(context, spec, at)
    if isinstance(result, Present):
        context.error(
            at, f"{at.path.rsplit('.', 1)[-1]} needs one of exact, prefix, regex", fix="add one, or take it out"
        )
        return None
    if isinstance(result, Exact) and not result.value:
        context.error(at.at("exact"), "exact must not be empty: nothing would match", fix="take it out")
    return result


def lower_text(context: Context, spec: StringMatchSpec, at: Origin) -> ValueMatch:
    """One of exact, prefix and regex; none of them means that it is there, with any value."""
    given = [key for key in ("exact", "prefix", "regex") if getattr(spec, key) is not None]
    if len(given) > 1:
        context.error(at, f"only one of {' and '.join(given)} may be given", fix="keep one, or write two matches")
    if spec.exact is not None:
        return Exact(headers.value(context, spec.exact, at.at("exact")))
    if spec.prefix is not None:
        if not spec.prefix:
            context.error(at.at("prefix"), "prefix must not be empty", fix='"/" for every path; else take it out')
        return Prefix(headers.value(context, spec.prefix, at.at("prefix")))
    if spec.regex is not None:
        regexes.regex(context, spec.regex, at.at("regex"))
        return Regex(spec.regex)
    return Present()


def _values(
    context: Context,
    mapping: Mapping[str, StringMatchSpec],
    at: Origin,
    key: Callable[[Context, str, Origin], str],
) -> tuple[tuple[str, ValueMatch], ...]:
    if not mapping:
        return ()
    pairs = tuple(
        (key(context, name, at.at(name)), lower_text(context, spec, at.at(name))) for name, spec in mapping.items()
    )
    headers.once(context, [name for name, _ in pairs], at)
    return pairs


def _header(context: Context, name: str, at: Origin) -> str:
    if name.startswith(_CLAIMS):
        message = "matching on claims of a token is not supported yet, and ignoring it would let other callers in"
        context.error(at, message, fix="take the match out", code=UNSUPPORTED)
        return name
    if name.lower() in _NOT_HEADERS:
        context.error(at, f"{name} is not matched as a header", fix=f"use the field {name.lower()} of the match")
        return name
    return headers.name(context, name, at)


def _query(context: Context, name: str, at: Origin) -> str:
    if not name or len(name.encode()) > 1024:
        context.error(at, "the name of a query parameter must have 1 to 1024 bytes")
    return name
