"""What a request asks besides its path: body, dry run, preconditions. What is not served is refused, never ignored."""

from typing import Final, Literal

import msgspec
from starlette.requests import Request

from core.manager.api.failures import Cause, Failure, invalid
from core.manager.api.target import Target

LARGEST_BODY: Final = 3 * 1024 * 1024
"""Bytes; Kubernetes' own limit."""

_NOT_SERVED: Final = ("watch", "labelSelector", "fieldSelector", "continue")


class Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """`meta/v1.DeleteOptions`, as far as it changes what a deletion does here; the body may also be empty."""

    preconditions: Preconditions = Preconditions()
    dry_run: tuple[Literal["All"], ...] = ()


def refuse_unserved(request: Request) -> None:
    """A list without what these parameters ask for would be a wrong answer. Raises `Failure` 400."""
    for name in _NOT_SERVED:
        if request.query_params.get(name, "") not in ("", "false", "0"):
            raise Failure(400, f"the query parameter {name} is not served")


def is_dry_run(request: Request) -> bool:
    """Raises `Failure` 400 for anything but `All`."""
    given = request.query_params.getlist("dryRun")
    if any(value != "All" for value in given):
        raise Failure(400, f'dryRun={",".join(given)} is not served: the only value is "All"')
    return bool(given)


async def body_of(request: Request) -> bytes:
    """Raises `Failure`: 415 when it is not said to be JSON, 413 when it is larger than `LARGEST_BODY`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Failure(415, f"the body is {media_type or 'of no type'}: send application/json")
    return await _read(request)


async def delete_options(request: Request) -> DeleteOptions:
    """Raises `Failure` 400 when a body is there and is not one of these."""
    try:
        return msgspec.json.decode(await _read(request) or b"{}", type=DeleteOptions)
    except msgspec.DecodeError as error:
        raise Failure(400, f"the body is not DeleteOptions: {error}") from error


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Failure(413, f"the body is larger than {LARGEST_BODY} bytes")
    return bytes(body)


def check_revision(revision: str, target: Target) -> None:
    """A replacement has to say what it replaces. Raises `Failure` 422."""
    if not revision:
        cause = Cause("FieldValueRequired", "must be specified for an update", "metadata.resourceVersion")
        raise invalid(target.name, (cause,), group=target.kind.group, kind=target.kind.kind)
