"""What a request asks besides its path: body, dry run, selectors, preconditions. What is not served is refused."""

import asyncio
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from starlette.requests import Request

from core.kinds.nodes import plain
from core.kinds.text import trees
from core.manager.api.failures import Cause, Failure, invalid
from core.manager.api.selectors import Selector, selector
from core.manager.api.target import Target
from core.manager.api.tolerance import Validation

LARGEST_BODY: Final = 3 * 1024 * 1024
"""Bytes; Kubernetes' own limit."""

PATIENCE: Final = 30.0
"""Seconds in which a body has to be here."""

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
STEPS: Final = "application/json-patch+json"
PATCHES: Final = (STEPS, MERGE, APPLY)

_LONGEST_MANAGER: Final = 128
_TRUE: Final = ("true", "1", "")


class Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    uid: str = ""


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """`meta/v1.DeleteOptions`, as far as it changes what a deletion does here; the body may also be empty."""

    preconditions: Preconditions = Preconditions()
    dry_run: tuple[Literal["All"], ...] = ()


def asks(request: Request, name: str) -> bool:
    """Whether this query parameter is there and true."""
    return name in request.query_params and request.query_params[name] in _TRUE


def number(request: Request, name: str, default: int) -> int:
    """Raises `Failure` 400 for what is no number from 0."""
    text = request.query_params.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Failure(400, f"{name}={text[:40]} is no number")
    return int(text) if text else default


def selector_of(request: Request) -> Selector:
    """Raises `Failure` 400."""
    query = request.query_params
    return selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))


def is_dry_run(request: Request) -> bool:
    """Raises `Failure` 400 for anything but `All`."""
    given = request.query_params.getlist("dryRun")
    if any(value != "All" for value in given):
        raise Failure(400, f'dryRun={",".join(given)} is not served: the only value is "All"')
    return bool(given)


def validation_of(request: Request) -> Validation:
    """Strict, unless less is asked for. Raises `Failure` 400 for what is none."""
    given = request.query_params.get("fieldValidation") or Validation.STRICT
    if given not in list(Validation):
        raise Failure(400, f"fieldValidation={given[:40]} is not served: write {', '.join(Validation)}")
    return Validation(given)


def manager_of(request: Request) -> str:
    """Who writes, as clients name themselves. Raises `Failure` 400 for a name that is too long or cannot be shown."""
    given = request.query_params.get("fieldManager", "")
    if len(given) > _LONGEST_MANAGER or not given.isprintable():
        raise Failure(400, f"a fieldManager has at most {_LONGEST_MANAGER} printable characters")
    agent = request.headers.get("user-agent", "").partition("/")[0].strip()
    return given or agent[:_LONGEST_MANAGER] or "unknown"


def author_of(request: Request) -> str:
    """Whoever was let in; tests without a guard are nobody."""
    caller = getattr(request.state, "caller", None)
    return caller.name if caller else ""


async def body_of(request: Request, *, largest: int = LARGEST_BODY, or_else: str = "") -> bytes:
    """Raises `Failure`: 415 for what is neither JSON nor `or_else`, 413 beyond `largest` bytes, 408 when none comes."""
    if media_type(request) not in ("application/json", "", or_else):
        raise Failure(415, f"the body is {media_type(request)}: send application/json")
    return await _read(request, largest=largest)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def patch_of(request: Request) -> bytes:
    """Raises `Failure` as `body_of`."""
    if media_type(request) not in PATCHES:
        said = f"the body of the request was in an unknown format - accepted media types include: {', '.join(PATCHES)}"
        raise Failure(415, said)
    return await _read(request)


def yaml_of(body: bytes) -> Mapping[str, object]:
    """One object, from JSON or YAML. Raises `Failure` 400."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _yaml(body.decode("utf-8", "surrogateescape"))
    if not isinstance(value, dict):
        raise Failure(400, "the body is no object")
    return value


def _yaml(text: str) -> object:
    found = tuple(trees(text))
    for tree in found:
        for problem in tree.problems:
            raise Failure(400, f"the body is neither JSON nor YAML: line {problem.line}: {problem.message}")
    if len(found) != 1 or found[0].root is None:
        raise Failure(400, "the body has to be one object")
    return plain(found[0].root)


async def delete_options(request: Request) -> DeleteOptions:
    """Raises `Failure` 400 when a body is there and is not one of these."""
    try:
        return msgspec.json.decode(await _read(request) or b"{}", type=DeleteOptions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is not DeleteOptions: {error}") from error


async def _read(request: Request, *, largest: int = LARGEST_BODY) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise Failure(413, f"the body is larger than {largest} bytes")
    except TimeoutError as error:
        raise Failure(408, f"the body was not here after {PATIENCE:g} s", reason="Timeout") from error
    return bytes(body)


def check_revision(revision: str, target: Target) -> None:
    """A replacement has to say what it replaces. Raises `Failure` 422."""
    if not revision:
        cause = Cause("FieldValueRequired", "must be specified for an update", "metadata.resourceVersion")
        raise invalid(target.name, (cause,), group=target.kind.group, kind=target.kind.kind)
