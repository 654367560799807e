"""Values to HTTP answers: JSON bodies, warnings in headers, and failures of every sort as `Status` objects."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.diagnostics import Diagnostic
from core.errors import Conflict, Denied, Expired, MeshError, NotFound, Unavailable
from core.manager.api.failures import Failure

_CORE: Final = "/api/v1/"
_NO_CLUSTER: Final = "this is a mesh and no cluster: it has rules only, which kubectl api-resources lists"

Handler = Callable[[Request, Exception], Awaitable[Response]]

_CODES: Final[tuple[tuple[type[MeshError], HTTPStatus], ...]] = (
    (Conflict, HTTPStatus.CONFLICT),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Expired, HTTPStatus.GONE),
    (Denied, HTTPStatus.FORBIDDEN),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (MeshError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def answer(value: object, *, code: int = HTTPStatus.OK, warnings: Iterable[Diagnostic] = ()) -> Response:
    """`warnings` travel as `Warning` headers (RFC 7234 §5.5, code 299), which kubectl shows too."""
    response = Response(msgspec.json.encode(value), code, media_type="application/json")
    for found in warnings:
        response.headers.append("Warning", _warning(found))
    return response


def _warning(found: Diagnostic) -> str:
    """A header cannot hold line breaks or letters outside ASCII."""
    text = " ".join(str(found).split()).encode("ascii", "backslashreplace").decode()
    return '299 - "' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def failed(request: Request, error: Exception) -> Response:
    failure = _failure(request, error)
    return answer(failure.status, code=failure.status.code)


def failure_of(error: MeshError) -> Failure:
    """What a client is told of an error."""
    return Failure(next(code for kind, code in _CODES if isinstance(error, kind)), str(error))


def _failure(request: Request, error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, HTTPException) and request.url.path.startswith(_CORE):
        return Failure(error.status_code, _NO_CLUSTER)
    if isinstance(error, HTTPException):
        return Failure(error.status_code, f"{error.detail}: {request.method} {request.url.path}")
    if isinstance(error, RecursionError):
        return Failure(400, "the object is nested too deeply")
    if isinstance(error, MeshError):
        return failure_of(error)
    return Failure(500, "the Manager failed; its log says why")


HANDLERS: Final[Mapping[type[Exception], Handler]] = dict.fromkeys(
    (Failure, MeshError, HTTPException, RecursionError, Exception), failed
)
