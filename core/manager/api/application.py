"""The API's paths and verbs over a `ConfigStore`. What makes an object acceptable is in `admission`."""

from collections.abc import Callable
from typing import Final

from msgspec import structs, to_builtins
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.diagnostics import Diagnostic
from core.errors import Conflict
from core.manager.api.admission import Admitted, admit
from core.manager.api.answers import HANDLERS, answer
from core.manager.api.failures import Failure, Status
from core.manager.api.objects import Resource, ResourceList, resource_of
from core.manager.api.questions import body_of, check_revision, delete_options, is_dry_run, refuse_unserved
from core.manager.api.release import installed
from core.manager.api.target import Target, target_of
from core.manager.status import Held, ProxyStatus
from core.model.config import ConfigKey, Document, written
from core.model.mesh import Mesh
from core.ports import ConfigStore

Findings = Callable[[ConfigKey], tuple[Diagnostic, ...]]
Proxies = Callable[[], tuple[ProxyStatus, ...]]
HeldDocuments = Callable[[], tuple[Held, ...]]

_KIND: Final = "/apis/{group}/{version}"
_COLLECTION: Final = _KIND + "/namespaces/{namespace}/{plural}"
_OBJECT: Final = _COLLECTION + "/{name}"


class ConfigApi:
    """Verbs on objects.

    `mesh` gives the mesh settings of the moment, `proxies` who is connected, `findings` what is known to be wrong with
    a stored document, `held` which documents are out of force because a proxy refused them.
    """

    def __init__(
        self,
        store: ConfigStore,
        *,
        mesh: Callable[[], Mesh],
        proxies: Proxies,
        findings: Findings,
        held: HeldDocuments = tuple,
    ) -> None:
        self._store = store
        self._mesh = mesh
        self._proxies = proxies
        self._findings = findings
        self._held = held

    def application(self, *more: Route) -> Starlette:
        """`more`: routes of others, with the same failures."""
        routes = [
            *more,
            Route("/healthz", self._healthz),
            Route("/version", self._version),
            Route("/status", self._status),
            Route(_KIND + "/{plural}", self._list),
            Route(_COLLECTION, self._list, methods=["GET"]),
            Route(_COLLECTION, self._create, methods=["POST"]),
            Route(_OBJECT, self._get, methods=["GET"]),
            Route(_OBJECT, self._replace, methods=["PUT"]),
            Route(_OBJECT, self._delete, methods=["DELETE"]),
        ]
        return Starlette(routes=routes, exception_handlers=HANDLERS)

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _version(self, request: Request) -> Response:
        major, minor, *_ = installed().split("+")[0].split(".")
        return answer({"major": major, "minor": minor, "gitVersion": f"v{installed()}"})

    async def _status(self, request: Request) -> Response:
        proxies = [to_builtins(proxy) | {"synced": proxy.synced} for proxy in self._proxies()]
        return answer({"proxies": proxies, "held": self._held()})

    async def _list(self, request: Request) -> Response:
        target = target_of(request)
        refuse_unserved(request)
        kind = target.kind
        found = await self._store.list(group=kind.group, kind=kind.kind, namespace=target.namespace)
        items = tuple(self._resource(document, target) for document in found)
        return answer(ResourceList(api_version=target.api_version, kind=f"{kind.kind}List", items=items))

    async def _get(self, request: Request) -> Response:
        target = target_of(request)
        return answer(self._resource(await self._stored(target), target))

    async def _create(self, request: Request) -> Response:
        target = target_of(request)
        admitted = await self._admit(request, target)
        document = structs.replace(admitted.document, revision="")
        target = structs.replace(target, name=document.key.name)
        if await self._store.get(document.key):
            raise _exists(target)
        try:
            stored = await self._put(request, document, before=None)
        except Conflict as error:
            raise _exists(target) from error
        return answer(self._resource(stored, target), code=201, warnings=admitted.warnings)

    async def _replace(self, request: Request) -> Response:
        target = target_of(request)
        admitted = await self._admit(request, target)
        before = await self._stored(target)
        check_revision(admitted.document.revision, target)
        stored = await self._put(request, admitted.document, before=before)
        return answer(self._resource(stored, target), warnings=admitted.warnings)

    async def _delete(self, request: Request) -> Response:
        target = target_of(request)
        options = await delete_options(request)
        before = await self._stored(target)
        revision = options.preconditions.resource_version
        if revision not in ("", before.revision):
            raise Conflict(f"{target} has been modified: it is at version {before.revision}, not {revision}")
        if not (options.dry_run or is_dry_run(request)):
            await self._store.delete(target.key, revision=revision)
        return answer(Status(status="Success", details=target.details, code=200))

    async def _admit(self, request: Request, target: Target) -> Admitted:
        return admit(await body_of(request), target, mesh=self._mesh())

    async def _put(self, request: Request, document: Document, *, before: Document | None) -> Document:
        """Stores it, or says what would be stored. Raises `Conflict`."""
        if is_dry_run(request):
            return written(document, before, revision="", now=0.0)
        return await self._store.put(document)

    async def _stored(self, target: Target) -> Document:
        """Raises `Failure` 404."""
        if document := await self._store.get(target.key):
            return document
        raise Failure(404, f"{target} not found", details=target.details)

    def _resource(self, document: Document, target: Target) -> Resource:
        return resource_of(document, self._findings(document.key), version=target.version)


def _exists(target: Target) -> Failure:
    return Failure(409, f"{target} already exists", reason="AlreadyExists", details=target.details)
