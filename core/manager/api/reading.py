"""Reads: one object, a list in pages, a watch; each as objects or as the table that `kubectl get` prints."""

import asyncio
import random
from collections.abc import Iterable
from typing import cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from core.diagnostics import Diagnostic
from core.manager.api import tables
from core.manager.api.answers import answer
from core.manager.api.failures import Failure
from core.manager.api.histories import history
from core.manager.api.objects import thing_of
from core.manager.api.pages import Page, Pages
from core.manager.api.questions import asks, number, selector_of
from core.manager.api.selectors import Selector
from core.manager.api.target import Target, target_of
from core.manager.api.watching import Show, Wanted, Watch
from core.model.config import ConfigKey, Document, Snapshot
from core.ports import VersionedStore

Findings = dict[ConfigKey, tuple[Diagnostic, ...]]


class Reader:
    """The findings in a status are those that the store was told. `closing` ends every watch."""

    def __init__(self, store: VersionedStore, *, closing: asyncio.Event) -> None:
        self._store = store
        self._closing = closing
        self._pages = Pages()

    async def one(
        self,
        request: Request,
        document: Document,
        target: Target,
        *,
        code: int = 200,
        warnings: Iterable[Diagnostic] = (),
    ) -> Response:
        shown = _shower(request, target)(document, await self._store.status(document.key))
        return answer(shown, code=code, warnings=warnings)

    async def history(self, request: Request) -> Response:
        """What became of one object. Raises `Failure` 404 when nothing is remembered of it."""
        target = target_of(request)
        changes = await self._store.history(target.key)
        if not changes and await self._store.get(target.key) is None:
            raise Failure(404, f"{target} not found, and not remembered", details=target.details)
        judged, findings = await self._store.judged(target.key), await self._store.status(target.key)
        return answer(history(changes, judged, findings, version=target.version))

    async def selected(self, target: Target, selector: Selector) -> tuple[Document, ...]:
        return (await self._snapshot(target, selector)).documents

    async def collection(self, request: Request) -> Response:
        """A list, or a watch of one."""
        target, selector = target_of(request), selector_of(request)
        if asks(request, "watch"):
            return await self._watch(request, target, selector)
        snapshot, page = await self._page(request, target, selector)
        metadata: dict[str, object] = {"resourceVersion": snapshot.revision or "0"}
        if page.token:
            metadata |= {"continue": page.token, "remainingItemCount": page.left}
        findings = await self._findings(target)
        if tables.wanted(request.headers.get("accept", "")):
            include = _include(request)
            rows = [_row(document, findings.get(document.key, ()), target, include) for document in page.documents]
            return answer(tables.table(target.kind.kind, rows, metadata=metadata))
        version = target.version
        items = [thing_of(one, findings.get(one.key, ()), version=version) for one in page.documents]
        kind = f"{target.kind.kind}List"
        return answer({"apiVersion": target.api_version, "kind": kind, "metadata": metadata, "items": items})

    async def _findings(self, target: Target) -> Findings:
        """Asked for after the documents, so that what is reported in between comes once more, and is not lost."""
        kind = target.kind
        found = await self._store.reported(group=kind.group, kind=kind.kind, namespace=target.namespace)
        return {each.key: each.findings for each in found}

    async def _page(self, request: Request, target: Target, selector: Selector) -> tuple[Snapshot, Page]:
        limit, token = number(request, "limit", 0), request.query_params.get("continue", "")
        query = request.query_params
        about = " ".join((str(target.key), query.get("labelSelector", ""), query.get("fieldSelector", "")))
        if token:
            return self._pages.next(token, limit, about=about)
        snapshot = await self._snapshot(target, selector)
        exact = query.get("resourceVersion", "") if query.get("resourceVersionMatch") == "Exact" else ""
        if exact and exact != snapshot.revision:
            raise Failure(410, f"revision {exact[:40]} is not kept: the newest is {snapshot.revision}")
        return snapshot, self._pages.first(snapshot, limit, about=about)

    async def _snapshot(self, target: Target, selector: Selector) -> Snapshot:
        kind = target.kind
        found = await self._store.snapshot(group=kind.group, kind=kind.kind, namespace=target.namespace)
        return Snapshot(tuple(one for one in found.documents if selector.selects(one)), found.revision)

    async def _watch(self, request: Request, target: Target, selector: Selector) -> Response:
        since = request.query_params.get("resourceVersion", "")
        marks_start = asks(request, "sendInitialEvents")
        wanted = Wanted(
            target=target,
            selector=selector,
            since="" if since == "0" or marks_start else since,
            bookmarks=asks(request, "allowWatchBookmarks"),
            marks_start=marks_start,
            # Not all at once: whoever comes back costs a list, perhaps.
            lasts=number(request, "timeoutSeconds", int(random.uniform(1800, 3600))),
        )
        watch = Watch(self._store, wanted, _shower(request, target), closing=self._closing)
        try:
            await watch.begin()
        except BaseException:
            await watch.end()
            raise
        return StreamingResponse(watch.lines(), media_type="application/json")


def _shower(request: Request, target: Target) -> Show:
    if not tables.wanted(request.headers.get("accept", "")):
        return lambda document, findings: thing_of(document, findings, version=target.version)
    include = _include(request)

    def show(document: Document, findings: tuple[Diagnostic, ...]) -> object:
        row = _row(document, findings, target, include)
        return tables.table(target.kind.kind, [row], metadata={"resourceVersion": document.revision})

    return show


def _row(document: Document, findings: tuple[Diagnostic, ...], target: Target, include: tables.Include) -> tables.Row:
    return tables.row(document, thing_of(document, findings, version=target.version), include)


def _include(request: Request) -> tables.Include:
    given = request.query_params.get("includeObject", "Metadata")
    if given not in ("None", "Metadata", "Object"):
        raise Failure(400, f"includeObject={given[:40]} is not served")
    return cast(tables.Include, given)
