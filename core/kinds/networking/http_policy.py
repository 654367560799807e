"""What a VirtualService route does to a request on its way: retries, faults and rewrites."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from core.diagnostics import Severity
from core.ir.values import Abort, Delay, Fault, RegexRewrite, Retry, Rewrite, UriRewrite
from core.kinds import headers, regexes, scalars
from core.kinds.findings import DEPRECATED, Context
from core.kinds.kind import Spec
from core.model.config import Origin

RETRY_CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
})  # fmt: skip
"""What Envoy's router knows in `x-envoy-retry-on` and `x-envoy-retry-grpc-on`."""

GRPC_STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of gRPC's status codes; the index is the code."""

_HTTP_STATUS = frozenset(int(status) for status in HTTPStatus)
_MOST_ATTEMPTS = 2**31 - 1


class RetrySpec(Spec, frozen=True):
    attempts: int = 0
    per_try_timeout: str | None = None
    retry_on: str = ""
    retry_ignore_previous_hosts: bool | None = None

    later: ClassVar[Mapping[str, Severity]] = {
        "retryRemoteLocalities": Severity.WARNING,
        "backoff": Severity.WARNING,
    }


class PercentSpec(Spec, frozen=True):
    value: float = 0.0


class DelaySpec(Spec, frozen=True):
    fixed_delay: str | None = None
    percentage: PercentSpec | None = None
    percent: int | None = None

    later: ClassVar[Mapping[str, Severity]] = {"exponentialDelay": Severity.ERROR}


class AbortSpec(Spec, frozen=True):
    http_status: int | None = None
    grpc_status: str | None = None
    percentage: PercentSpec | None = None

    later: ClassVar[Mapping[str, Severity]] = {"http2Error": Severity.ERROR}


class FaultSpec(Spec, frozen=True):
    delay: DelaySpec | None = None
    abort: AbortSpec | None = None


class RegexRewriteSpec(Spec, frozen=True):
    match: str = ""
    rewrite: str = ""


class RewriteSpec(Spec, frozen=True):
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewriteSpec | None = None


def lower_retry(context: Context, spec: RetrySpec, at: Origin) -> Retry:
    if not 0 <= spec.attempts <= _MOST_ATTEMPTS:
        context.error(at.at("attempts"), f"attempts must be 0 or more, not {spec.attempts}", fix="0 turns retries off")
    if spec.attempts == 0 and (spec.per_try_timeout is not None or spec.retry_on):
        context.error(
            at,
            "attempts is 0, which turns retries off, but perTryTimeout or retryOn is given",
            fix="set attempts, or take the others out",
        )
    timeout = 0
    if spec.per_try_timeout is not None:
        timeout = scalars.duration(context, spec.per_try_timeout, at.at("perTryTimeout"))
    conditions, codes = _retry_on(context, spec.retry_on, at.at("retryOn"))
    ignore = spec.retry_ignore_previous_hosts is not False
    base = Retry(attempts=spec.attempts, per_try_timeout=timeout, ignore_previous_hosts=ignore)
    if not spec.retry_on:
        return base
    return Retry(
        attempts=spec.attempts,
        per_try_timeout=timeout,
        conditions=conditions,
        status_codes=codes,
        ignore_previous_hosts=ignore,
    )


def _retry_on(context: Context, text: str, at: Origin) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Conditions, and HTTP status codes; codes make "retriable-status-codes" one of the conditions."""
    conditions: dict[str, None] = {}
    codes: dict[int, None] = {}
    for token in (part.strip() for part in text.split(",") if text):
        if token in RETRY_CONDITIONS:
            conditions[token] = None
        elif token.isascii() and token.isdigit() and len(token) == 3 and int(token) in _HTTP_STATUS:
            codes[int(token)] = None
        else:
            fix = f"use status codes and {', '.join(sorted(RETRY_CONDITIONS))}"
            context.error(at, f"retryOn does not know {token[:60]!r}", fix=fix)
    if codes:
        conditions["retriable-status-codes"] = None
    return tuple(conditions), tuple(codes)


def lower_fault(context: Context, spec: FaultSpec, at: Origin) -> Fault | None:
    if spec.delay is None and spec.abort is None:
        context.error(at, "fault needs delay or abort", fix="add one, or take fault out")
        return None
    delay = _delay(context, spec.delay, at.at("delay")) if spec.delay else None
    abort = _abort(context, spec.abort, at.at("abort")) if spec.abort else None
    return Fault(delay, abort) if delay or abort else None


def _delay(context: Context, spec: DelaySpec, at: Origin) -> Delay | None:
    if spec.fixed_delay is None:
        context.error(at.at("fixedDelay"), "fixedDelay is required", fix='for example fixedDelay: "5s"')
        return None
    duration = scalars.duration(context, spec.fixed_delay, at.at("fixedDelay"))
    share = _deprecated_share(context, spec, at) if spec.percentage is None else _share(context, spec.percentage, at)
    return Delay(duration, share) if share else None


def _deprecated_share(context: Context, spec: DelaySpec, at: Origin) -> int:
    if spec.percent is None:
        return _share(context, None, at)
    context.warn(at.at("percent"), "percent is deprecated", fix="use percentage: {value: …}", code=DEPRECATED)
    return scalars.per_million(context, spec.percent, at.at("percent"))


def _abort(context: Context, spec: AbortSpec, at: Origin) -> Abort | None:
    share = _share(context, spec.percentage, at)
    if (spec.http_status is None) == (spec.grpc_status is None):
        context.error(at, "abort needs either httpStatus or grpcStatus", fix="for example httpStatus: 503")
        return None
    if spec.grpc_status is not None:
        code = _grpc_status(context, spec.grpc_status, at.at("grpcStatus"))
        return Abort(code, share, "grpc") if share else None
    status = spec.http_status or 0
    if not 200 <= status <= 599:
        context.error(at.at("httpStatus"), f"httpStatus must be from 200 to 599, not {status}")
    return Abort(status, share) if share else None


def _grpc_status(context: Context, text: str, at: Origin) -> int:
    if text in GRPC_STATUS:
        return GRPC_STATUS.index(text)
    context.error(at, f"{text[:60]!r} is not a gRPC status", fix=f"one of {', '.join(GRPC_STATUS)}")
    return 0


def _share(context: Context, spec: PercentSpec | None, at: Origin) -> int:
    """Parts per million. A fault without a percentage happens never (Istio `HTTPFaultInjection`)."""
    if spec is None:
        context.warn(at, "without percentage the fault never happens", fix="add percentage: {value: 100}")
        return 0
    return scalars.per_million(context, spec.value, at.at("percentage").at("value"))


def lower_rewrite(context: Context, spec: RewriteSpec, at: Origin) -> Rewrite:
    if not (spec.uri or spec.authority or spec.uri_regex_rewrite):
        context.error(at, "rewrite needs uri, uriRegexRewrite or authority", fix="add one, or take rewrite out")
    if spec.uri and spec.uri_regex_rewrite:
        context.error(at, "only one of uri and uriRegexRewrite may be given", fix="keep one")
    authority = headers.authority(context, spec.authority, at.at("authority"))
    if spec.uri_regex_rewrite:
        return Rewrite(_regex_rewrite(context, spec.uri_regex_rewrite, at.at("uriRegexRewrite")), authority)
    if spec.uri:
        if not spec.uri.startswith("/"):
            message = f"the rewritten path would begin with {spec.uri[:40]!r}, not with /"
            context.warn(at.at("uri"), message, fix="begin it with /")
        return Rewrite(UriRewrite(headers.value(context, spec.uri, at.at("uri"))), authority)
    return Rewrite(authority=authority)


def _regex_rewrite(context: Context, spec: RegexRewriteSpec, at: Origin) -> RegexRewrite:
    groups = regexes.regex(context, spec.match, at.at("match"))
    regexes.substitution(context, spec.rewrite, groups, at.at("rewrite"))
    return RegexRewrite(spec.match, headers.value(context, spec.rewrite, at.at("rewrite")))
