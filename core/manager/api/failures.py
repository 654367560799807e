"""What the API answers when it does not do what was asked: Kubernetes `Status` objects. No server in here."""

from http import HTTPStatus
from typing import Literal

import msgspec

from core.diagnostics import Diagnostic


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason: `reason` is a stable code (ISTnnnn, MSHnnnn, or Kubernetes' own), `field` the path it is about."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`meta/v1.Status`: the body of every answer that is not an object."""

    api_version: str = "v1"
    kind: str = "Status"
    metadata: dict[str, str] = {}
    status: Literal["Success", "Failure"] = "Failure"
    message: str = ""
    reason: str = ""
    details: Details = Details()
    code: int = HTTPStatus.INTERNAL_SERVER_ERROR


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Failure(Exception):
    """Ends a request with a `Status`. `reason` defaults to Kubernetes' word for the code."""

    def __init__(self, code: int, message: str, *, reason: str = "", details: Details | None = None) -> None:
        super().__init__(message)
        self.status = Status(
            message=message,
            reason=reason or _REASONS.get(code, HTTPStatus(code).phrase.replace(" ", "")),
            details=details or Details(),
            code=code,
        )


def invalid(name: str, causes: tuple[Cause, ...], *, group: str = "", kind: str = "") -> Failure:
    """422: the object is understood, and wrong."""
    said = "; ".join(f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes)
    details = Details(name=name, group=group, kind=kind, causes=causes)
    return Failure(422, f"{kind} {name!r} is invalid: {said}", details=details)


def cause_of(found: Diagnostic) -> Cause:
    fix = f" Fix: {found.fix}" if found.fix else ""
    return Cause(reason=found.code, message=f"{found.message}{fix}", field=found.origin.path if found.origin else "")
