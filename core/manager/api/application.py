"""The API's paths and verbs over a `VersionedStore`. How a write comes about is in `writing`, what is acceptable in
`admission`; who may ask is none of its business.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
from msgspec import structs, to_builtins
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.errors import Conflict, NotFound
from core.manager.api import OWN, reviews
from core.manager.api.answers import HANDLERS, answer
from core.manager.api.failures import Failure, Status
from core.manager.api.narrowing import narrowed
from core.manager.api.patches import decode_operations, merged, patched
from core.manager.api.questions import (
    APPLY,
    STEPS,
    DeleteOptions,
    author_of,
    body_of,
    delete_options,
    is_dry_run,
    manager_of,
    media_type,
    patch_of,
    selector_of,
    validation_of,
    yaml_of,
)
from core.manager.api.reading import Reader
from core.manager.api.release import installed
from core.manager.api.selectors import Selector
from core.manager.api.self_description import ROUTES
from core.manager.api.target import Target, target_of
from core.manager.api.together import Together
from core.manager.api.writing import ATTEMPTS, Intent, Patch, Writer, Written
from core.manager.status import Held, MeshStatus, Progress, ProxyStatus
from core.model.config import Document
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.ports import VersionedStore

Proxies = Callable[[], tuple[ProxyStatus, ...]]
HeldDocuments = Callable[[], tuple[Held, ...]]
OwnProgress = Callable[[], Progress]
Expected = Callable[[], Iterable[WorkloadKey]]
"""Workloads that ought to have a proxy."""

Everywhere = Callable[[MeshStatus], Awaitable[MeshStatus]]
"""Adds what other Managers know to what this one knows."""

_KIND: Final = "/apis/{group}/{version}"
_COLLECTION: Final = _KIND + "/namespaces/{namespace}/{plural}"
_OBJECT: Final = _COLLECTION + "/{name}"
_SUBRESOURCE: Final = _OBJECT + "/{subresource}"


async def _as_it_is(own: MeshStatus) -> MeshStatus:
    return own


class ConfigApi:
    """Verbs on objects.

    `mesh` gives the mesh settings of the moment, `proxies` who is connected, `held` which documents are out of force
    because a proxy refused them, `progress` how far documents have come in the Manager, `expected` whose proxies there
    ought to be; `everywhere` asks the others.
    """

    def __init__(
        self,
        store: VersionedStore,
        *,
        mesh: Callable[[], Mesh],
        proxies: Proxies,
        held: HeldDocuments = tuple,
        progress: OwnProgress = Progress,
        expected: Expected = tuple,
        everywhere: Everywhere = _as_it_is,
    ) -> None:
        self._store = store
        self._proxies = proxies
        self._held = held
        self._progress = progress
        self._expected = expected
        self._everywhere = everywhere
        self._closing = asyncio.Event()
        self._reader = Reader(store, closing=self._closing)
        self._writer = Writer(store, mesh=mesh, now=time.time)
        self._together = Together(store, self._writer)

    def close(self) -> None:
        """Ends every watch."""
        self._closing.set()

    def application(self, *more: Route) -> Starlette:
        """`more`: routes of others, with the same failures."""
        routes = [
            *more,
            *ROUTES,
            *reviews.ROUTES,
            self._together.route,
            *(Route(path, self._healthz) for path in ("/healthz", "/livez", "/readyz")),
            Route("/version", self._version),
            Route("/status", self._status),
            Route(_KIND + "/{plural}", self._reader.collection),
            Route(_COLLECTION, self._reader.collection, methods=["GET"]),
            Route(_COLLECTION, self._create, methods=["POST"]),
            Route(_COLLECTION, self._delete_collection, methods=["DELETE"]),
            Route(_OBJECT, self._get, methods=["GET"]),
            Route(_OBJECT, self._delete, methods=["DELETE"]),
            Route(_OBJECT + "/history", self._reader.history, methods=["GET"]),
            Route(_SUBRESOURCE, self._get, methods=["GET"]),
        ]
        for path in (_OBJECT, _SUBRESOURCE):
            routes += [Route(path, self._replace, methods=["PUT"]), Route(path, self._patch, methods=["PATCH"])]
        return Starlette(routes=routes, exception_handlers=HANDLERS)

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _version(self, request: Request) -> Response:
        major, minor, *_ = installed().split("+")[0].split(".")
        return answer({"major": major, "minor": minor, "gitVersion": f"v{installed()}"})

    async def _status(self, request: Request) -> Response:
        """Of all Managers that share this one's proxies; with `own` in the query, of this one alone.

        All documents, unless the query names some (`narrowing`).
        """
        connected = self._proxies()
        absent = tuple(sorted(set(self._expected()) - {each.workload for each in connected}))
        own = MeshStatus(proxies=connected, held=self._held(), progress=self._progress(), absent=absent)
        status = narrowed(own if OWN in request.query_params else await self._everywhere(own), request.query_params)
        proxies = [to_builtins(proxy) | {"synced": proxy.synced} for proxy in status.proxies]
        return answer({**to_builtins(status), "proxies": proxies})

    async def _get(self, request: Request) -> Response:
        target = target_of(request)
        return await self._reader.one(request, await self._stored(target), target)

    # -- writes --------------------------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        intent = _intent(request)
        written = await self._writer.create(await body_of(request), intent)
        _about(request, structs.replace(intent.target, name=written.document.key.name))
        return await self._written(request, written, intent)

    async def _replace(self, request: Request) -> Response:
        intent = _intent(request)
        body = await body_of(request)
        written = await self._writer.replace(body, await self._stored(intent.target), intent)
        return await self._written(request, written, intent)

    async def _patch(self, request: Request) -> Response:
        intent = _intent(request)
        body = await patch_of(request)
        if media_type(request) == APPLY:
            return await self._written(request, await self._applied(request, body, intent), intent)
        patch = _patch(body, media_type(request))

        async def work() -> Written:
            return await self._writer.patch(await self._stored(intent.target), patch, intent)

        return await self._written(request, await self._insisting(intent, work), intent)

    async def _applied(self, request: Request, body: bytes, intent: Intent) -> Written:
        if not request.query_params.get("fieldManager"):
            raise Failure(400, "an apply has to name a fieldManager")
        if intent.is_status:
            raise Failure(415, "a status cannot be applied: send a merge patch")
        wanted, force = yaml_of(body), request.query_params.get("force", "")
        if "managedFields" in (wanted.get("metadata") or {}):  # type: ignore[operator]
            raise Failure(400, "metadata.managedFields must be nil")

        async def work() -> Written:
            before = await self._store.get(intent.target.key)
            return await self._writer.apply(wanted, before, intent, force=force)

        return await self._insisting(intent, work)

    async def _insisting(self, intent: Intent, work: Callable[[], Awaitable[Written]]) -> Written:
        """Again when somebody else wrote in between; not when the client itself asked for another version."""
        for _ in range(ATTEMPTS - 1):
            before = await self._store.get(intent.target.key)
            try:
                return await work()
            except Conflict:
                if before == await self._store.get(intent.target.key):
                    raise
        return await work()

    async def _delete(self, request: Request) -> Response:
        target = target_of(request)
        _about(request, target)
        options = await delete_options(request)
        before = await self._stored(target)
        named = await self._writer.upon(options.preconditions.resource_version, before)
        _check(options, before, target, revision=named)
        if not (options.dry_run or is_dry_run(request)):
            await self._writer.remove((structs.replace(before, revision=named),), author=author_of(request))
        return answer(Status(status="Success", details=structs.replace(target.details, uid=before.uid), code=200))

    async def _delete_collection(self, request: Request) -> Response:
        target = target_of(request)
        _about(request, target)
        options = await delete_options(request)
        selector = selector_of(request)
        if not (options.dry_run or is_dry_run(request)):
            await self._clear(target, selector, author=author_of(request))
        return answer(Status(status="Success", details=target.details, code=200))

    async def _clear(self, target: Target, selector: Selector, *, author: str) -> None:
        """All at once; looked up again when somebody else wrote one of them in between. Raises `Conflict`."""
        for attempt in range(1, ATTEMPTS + 1):
            found = await self._reader.selected(target, selector)
            try:
                if found:
                    await self._writer.remove(found, author=author)
                return
            except (Conflict, NotFound):
                if attempt == ATTEMPTS:
                    raise

    async def _stored(self, target: Target) -> Document:
        """Raises `Failure` 404."""
        if document := await self._store.get(target.key):
            return document
        raise Failure(404, f"{target} not found", details=target.details)

    async def _written(self, request: Request, written: Written, intent: Intent) -> Response:
        code = 201 if written.is_new else 200
        warnings = written.admitted.warnings
        return await self._reader.one(request, written.document, intent.target, code=code, warnings=warnings)


def _intent(request: Request) -> Intent:
    target = target_of(request)
    _about(request, target)
    return Intent(
        target=target,
        manager=manager_of(request),
        author=author_of(request),
        validation=validation_of(request),
        rehearsal=is_dry_run(request),
        is_status="subresource" in request.path_params,
    )


def _about(request: Request, target: Target) -> None:
    """For whoever notes what was done."""
    request.state.object = str(target) if target.name else f"{target.kind.plural}.{target.kind.group}"
    request.state.object += f" in {target.namespace}"


def _patch(body: bytes, media: str) -> Patch:
    if media == STEPS:
        operations = decode_operations(body)
        return lambda thing: patched(thing, operations)
    try:
        patch = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is no JSON: {error}") from error
    return lambda thing: merged(thing, patch)


def _check(options: DeleteOptions, before: Document, target: Target, *, revision: str) -> None:
    """Raises `Conflict` when the object is not the one that was to be deleted."""
    uid = options.preconditions.uid
    if revision not in ("", before.revision):
        raise Conflict(f"{target} has been modified: it is at version {before.revision}, not {revision}")
    if uid not in ("", before.uid):
        raise Conflict(f"{target} is another object of that name: its uid is {before.uid}, not {uid}")
