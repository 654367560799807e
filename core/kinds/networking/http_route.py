"""HTTP routes of a VirtualService: where the request goes, or how it is answered at once."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import ClassVar, Literal

from core.diagnostics import Severity
from core.ir.routing import Action, Destination, Forward, HttpRoute, Mirror, Share
from core.ir.values import INHERIT, Inherit, Redirect, Respond, Retry, Rewrite
from core.kinds import headers, names, scalars
from core.kinds.findings import DEPRECATED, UNSUPPORTED, Context
from core.kinds.headers import HeadersSpec
from core.kinds.kind import Spec
from core.kinds.networking import http_match, http_policy
from core.kinds.networking.http_match import HttpMatchSpec
from core.kinds.networking.http_policy import FaultSpec, PercentSpec, RetrySpec, RewriteSpec
from core.model.config import Origin

REDIRECT_CODES = (301, 302, 303, 307, 308)
"""All that Envoy can send (`RedirectAction.RedirectResponseCode`)."""

LARGEST_BODY = 1024 * 1024
"""Bytes in a direct response, as Istio limits them."""

_LARGE_BODY = 100 * 1024
_HEAVIEST = 2**32 - 1


class PortSpec(Spec, frozen=True):
    number: int = 0


class DestinationSpec(Spec, frozen=True):
    host: str = ""
    subset: str = ""
    port: PortSpec | None = None


class ShareSpec(Spec, frozen=True):
    destination: DestinationSpec | None = None
    weight: int = 0
    headers: HeadersSpec | None = None


class RedirectSpec(Spec, frozen=True):
    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: int = 0


class BodySpec(Spec, frozen=True):
    string: str | None = None
    bytes: str | None = None


class DirectResponseSpec(Spec, frozen=True):
    status: int = 0
    body: BodySpec | None = None


class MirrorSpec(Spec, frozen=True):
    destination: DestinationSpec | None = None
    percentage: PercentSpec | None = None


class HttpRouteSpec(Spec, frozen=True):
    name: str = ""
    match: tuple[HttpMatchSpec, ...] = ()
    route: tuple[ShareSpec, ...] = ()
    redirect: RedirectSpec | None = None
    direct_response: DirectResponseSpec | None = None
    rewrite: RewriteSpec | None = None
    timeout: str | None = None
    retries: RetrySpec | None = None
    fault: FaultSpec | None = None
    headers: HeadersSpec | None = None
    mirror: DestinationSpec | None = None
    mirrors: tuple[MirrorSpec, ...] = ()
    mirror_percentage: PercentSpec | None = None
    mirror_percent: int | None = None

    later: ClassVar[Mapping[str, Severity]] = {
        "delegate": Severity.ERROR,
        "corsPolicy": Severity.WARNING,
    }


def lower(context: Context, spec: HttpRouteSpec, at: Origin) -> HttpRoute:
    matches = tuple(http_match.lower(context, match, at.at("match").at(i)) for i, match in enumerate(spec.match))
    operations, authority = headers.lower(context, spec.headers, at.at("headers"))
    action = _action(context, spec, at, authority)
    fault = http_policy.lower_fault(context, spec.fault, at.at("fault")) if spec.fault else None
    if fault and not isinstance(action, Forward):
        context.error(
            at.at("fault"), "fault needs a route; redirects and direct responses cannot fail", fix="take it out"
        )
    return HttpRoute(name=spec.name, matches=matches, action=action, fault=fault, headers=operations, origin=at)


def _action(context: Context, spec: HttpRouteSpec, at: Origin, authority: str) -> Action:
    given = [
        name
        for name, value in (
            ("route", spec.route),
            ("redirect", spec.redirect),
            ("directResponse", spec.direct_response),
        )
        if value
    ]
    if len(given) != 1:
        what = f"{' and '.join(given)} exclude each other" if given else "route, redirect or directResponse is required"
        context.error(
            at, what, fix="keep one" if given else "say where requests go, for example route: [{destination: …}]"
        )
    if spec.redirect is not None:
        _refuse_forwarding(context, spec, at, "redirect")
        return _redirect(context, spec, at)
    if spec.direct_response is not None:
        _refuse_forwarding(context, spec, at, "directResponse")
        return _respond(context, spec.direct_response, at.at("directResponse"))
    return _forward(context, spec, at, authority)


def _refuse_forwarding(context: Context, spec: HttpRouteSpec, at: Origin, action: str) -> None:
    if spec.rewrite:
        context.error(at.at("rewrite"), f"rewrite and {action} exclude each other", fix=f"change {action} instead")
    for field in ("timeout", "retries", "mirror", "mirrors"):
        if getattr(spec, field):
            context.warn(at.at(field), f"{field} has no effect beside {action}", fix="take it out")


def _forward(context: Context, spec: HttpRouteSpec, at: Origin, authority: str) -> Forward:
    shares, pinned = _shares(context, spec.route, at.at("route"))
    rewrite = http_policy.lower_rewrite(context, spec.rewrite, at.at("rewrite")) if spec.rewrite else Rewrite()
    if rewrite.authority and (authority or pinned):
        context.error(
            at.at("rewrite").at("authority"), "the authority is set by rewrite and by headers", fix="keep one"
        )
    timeout, retry = _timeout(context, spec.timeout, at.at("timeout")), _retry(context, spec.retries, at.at("retries"))
    _compare(context, timeout, retry, at.at("retries").at("perTryTimeout"))
    return Forward(
        shares=shares,
        rewrite=Rewrite(rewrite.path, rewrite.authority or pinned or authority),
        timeout=timeout,
        retry=retry,
        mirrors=_mirrors(context, spec, at),
    )


def _timeout(context: Context, text: str | None, at: Origin) -> int | Inherit:
    """0s turns the timeout off."""
    if text is None:
        return INHERIT
    return 0 if scalars.nanoseconds(text) == 0 else scalars.duration(context, text, at)


def _compare(context: Context, timeout: int | Inherit, retry: Retry | Inherit, at: Origin) -> None:
    if isinstance(timeout, int) and isinstance(retry, Retry) and 0 < timeout < retry.per_try_timeout:
        message = "perTryTimeout is longer than timeout, so it never ends a try"
        context.warn(at, message, fix="make it shorter than timeout")


def _retry(context: Context, spec: RetrySpec | None, at: Origin) -> Retry | Inherit:
    return INHERIT if spec is None else http_policy.lower_retry(context, spec, at)


def _shares(context: Context, specs: tuple[ShareSpec, ...], at: Origin) -> tuple[tuple[Share, ...], str]:
    """The destinations by weight, and the authority that the only one sets."""
    shares, authorities = [], []
    for i, spec in enumerate(specs):
        share, authority = _share(context, spec, at.at(i))
        shares.append(share)
        authorities.append(authority)
    if len(shares) == 1:
        return (Share(shares[0].destination, 1, shares[0].headers),), authorities[0]
    for i in (i for i, authority in enumerate(authorities) if authority):
        message = "setting Host for one of several destinations is not supported yet"
        context.error(at.at(i).at("headers"), message, fix="set it for the whole route", code=UNSUPPORTED)
    _check_weights(context, shares, at)
    return tuple(shares), ""


def _check_weights(context: Context, shares: list[Share], at: Origin) -> None:
    total = sum(share.weight for share in shares)
    if shares and total == 0:
        context.error(at, "all weights are 0, so requests could go nowhere", fix="give at least one a weight above 0")
    if total > _HEAVIEST:
        context.error(at, f"the weights add up to {total}; at most {_HEAVIEST} is possible", fix="use smaller ones")


def _share(context: Context, spec: ShareSpec, at: Origin) -> tuple[Share, str]:
    operations, authority = headers.lower(context, spec.headers, at.at("headers"))
    if spec.weight < 0:
        context.error(at.at("weight"), f"weight must be 0 or more, not {spec.weight}")
    return Share(
        _destination(context, spec.destination, at.at("destination")), max(spec.weight, 0), operations
    ), authority


def _destination(context: Context, spec: DestinationSpec | None, at: Origin) -> Destination:
    if spec is None:
        context.error(at, "destination is required", fix="add destination: {host: …}")
        return Destination("")
    port = names.port(context, spec.port.number, at.at("port").at("number")) if spec.port else 0
    host = names.host(context, spec.host, at.at("host"))
    return Destination(host, names.subset(context, spec.subset, at.at("subset")), port)


def _mirrors(context: Context, spec: HttpRouteSpec, at: Origin) -> tuple[Mirror, ...]:
    if spec.mirror and spec.mirrors:
        context.error(at.at("mirrors"), "mirror and mirrors exclude each other", fix="keep mirrors")
    if spec.mirror:
        share = _mirrored(context, spec, at)
        return (Mirror(_destination(context, spec.mirror, at.at("mirror")), share),) if share else ()
    for field, value in (("mirrorPercentage", spec.mirror_percentage), ("mirrorPercent", spec.mirror_percent)):
        if value is not None:
            context.warn(at.at(field), f"{field} has no effect without mirror", fix="add mirror, or take it out")
    mirrors = (_mirror(context, one, at.at("mirrors").at(i)) for i, one in enumerate(spec.mirrors))
    return tuple(mirror for mirror in mirrors if mirror.per_million)


def _mirrored(context: Context, spec: HttpRouteSpec, at: Origin) -> int:
    """Parts per million that `mirror` gets; all when nothing is said."""
    if spec.mirror_percent is not None:
        message, fix = "mirrorPercent is deprecated", "use mirrorPercentage: {value: …}"
        context.warn(at.at("mirrorPercent"), message, fix=fix, code=DEPRECATED)
    if spec.mirror_percentage is not None:
        return scalars.per_million(context, spec.mirror_percentage.value, at.at("mirrorPercentage").at("value"))
    if spec.mirror_percent is not None:
        return scalars.per_million(context, spec.mirror_percent, at.at("mirrorPercent"))
    return 1_000_000


def _mirror(context: Context, spec: MirrorSpec, at: Origin) -> Mirror:
    share = 1_000_000
    if spec.percentage is not None:
        share = scalars.per_million(context, spec.percentage.value, at.at("percentage").at("value"))
    return Mirror(_destination(context, spec.destination, at.at("destination")), share)


def _redirect(context: Context, route: HttpRouteSpec, at: Origin) -> Redirect:
    spec, at = route.redirect or RedirectSpec(), at.at("redirect")
    if not (
        spec.uri or spec.prefix_rewrite or spec.authority or spec.scheme or spec.port is not None or spec.derive_port
    ):
        context.error(at, "redirect needs one of uri, prefixRewrite, authority, scheme, port", fix="add one")
    if spec.prefix_rewrite:
        _check_prefix_rewrite(context, route, at)
    if spec.scheme not in ("", "http", "https"):
        context.error(at.at("scheme"), f"scheme must be http or https, not {spec.scheme[:40]!r}")
    if spec.redirect_code and spec.redirect_code not in REDIRECT_CODES:
        codes = ", ".join(str(code) for code in REDIRECT_CODES)
        context.error(
            at.at("redirectCode"), f"redirectCode {spec.redirect_code} is not a redirect", fix=f"one of {codes}"
        )
    return Redirect(
        scheme=spec.scheme,
        authority=headers.authority(context, spec.authority, at.at("authority")),
        port=_redirect_port(context, spec, at),
        path=headers.value(context, spec.uri, at.at("uri")),
        prefix=headers.value(context, spec.prefix_rewrite, at.at("prefixRewrite")),
        code=spec.redirect_code or 301,
    )


def _check_prefix_rewrite(context: Context, route: HttpRouteSpec, at: Origin) -> None:
    if route.redirect and route.redirect.uri:
        context.error(at, "only one of uri and prefixRewrite may be given", fix="keep one")
    if not route.match or any(match.uri is None or match.uri.prefix is None for match in route.match):
        fix = "match uri by prefix in every match of the route, or use uri"
        context.error(at.at("prefixRewrite"), "prefixRewrite replaces a prefix, but not every match has one", fix=fix)


def _redirect_port(context: Context, spec: RedirectSpec, at: Origin) -> int:
    if spec.port is not None and spec.derive_port is not None:
        context.error(at, "only one of port and derivePort may be given", fix="keep one")
    if spec.derive_port == "FROM_REQUEST_PORT":
        message = "derivePort FROM_REQUEST_PORT is not supported yet, and ignoring it would redirect elsewhere"
        context.error(at.at("derivePort"), message, fix="write port", code=UNSUPPORTED)
    return 0 if spec.port is None else names.port(context, spec.port, at.at("port"))


def _respond(context: Context, spec: DirectResponseSpec, at: Origin) -> Respond:
    if not 200 <= spec.status <= 599:
        context.error(at.at("status"), f"status must be from 200 to 599, not {spec.status}")
    body = _body(context, spec.body, at.at("body")) if spec.body else b""
    if len(body) > LARGEST_BODY:
        context.error(at.at("body"), f"the body has {len(body)} bytes; at most {LARGEST_BODY} are possible")
    elif len(body) > _LARGE_BODY:
        context.warn(
            at.at("body"), f"the body has {len(body)} bytes, which every proxy keeps in memory", fix="shorten it"
        )
    return Respond(spec.status, body)


def _body(context: Context, spec: BodySpec, at: Origin) -> bytes:
    if (spec.string is None) == (spec.bytes is None):
        context.error(at, "body needs either string or bytes", fix="keep one")
        return b""
    if spec.string is not None:
        return spec.string.encode()
    try:
        return b64decode(spec.bytes or "", validate=True)
    except (Base64Error, ValueError):
        context.error(at.at("bytes"), "bytes must be base64", fix="encode it, or use string")
        return b""
