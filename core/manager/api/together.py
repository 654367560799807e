"""The route by which several objects are written as one transaction: an order each, and all of them or none."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.kinds.registry import find
from core.manager.api.answers import answer
from core.manager.api.failures import Failure
from core.manager.api.objects import Metadata
from core.manager.api.questions import author_of, body_of, manager_of, validation_of
from core.manager.api.target import Target
from core.manager.api.transactions import LARGEST, PATH, Order, Outcome, Outcomes, Transaction
from core.manager.api.writing import Intent, Writer
from core.model.config import Document, Remove, Write
from core.ports import VersionedStore

_DEFAULT: Final = "default"


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    metadata: Metadata


class Together:
    """Understands transactions, and commits them."""

    def __init__(self, store: VersionedStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    @property
    def route(self) -> Route:
        return Route(PATH, self._commit, methods=["POST"])

    async def _commit(self, request: Request) -> Response:
        if "dryRun" in request.query_params:
            raise Failure(400, "a transaction cannot be rehearsed as a whole; ask for dryRun of each object")
        orders = _decoded(await body_of(request, largest=LARGEST))
        named = [_named(order) for order in orders]
        targets = [_target(each) for each in named]
        request.state.object = ", ".join(f"{target} in {target.namespace}" for target in targets)
        intents = _intents(request, targets)
        before = [await self._store.get(target.key) for target in targets]
        writes = [
            await self._write(order, intent, revision=each.metadata.resource_version)
            for order, intent, each in zip(orders, intents, named, strict=True)
        ]
        after = await self._store.commit(tuple(writes), author=author_of(request))
        return answer(Outcomes(tuple(map(_outcome, before, after))))

    async def _write(self, order: Order, intent: Intent, *, revision: str) -> Write:
        if order.verb == "remove":
            return Remove(intent.target.key, revision)
        return await self._writer.put(bytes(order.object), intent, revision=revision)


def _decoded(body: bytes) -> tuple[Order, ...]:
    """Raises `Failure` 400."""
    try:
        return msgspec.json.decode(body, type=Transaction).orders
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is no transaction: {error}") from error


def _intents(request: Request, targets: list[Target]) -> list[Intent]:
    manager, author, validation = manager_of(request), author_of(request), validation_of(request)
    return [Intent(target=target, manager=manager, author=author, validation=validation) for target in targets]


def _named(order: Order) -> _Named:
    """Raises `Failure` 400."""
    try:
        return msgspec.json.decode(order.object, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"an object of the transaction does not say what it is: {error}") from error


def _target(named: _Named) -> Target:
    """Raises `Failure` 400."""
    group, _, version = named.api_version.rpartition("/")
    kind = find(group, named.kind)
    if kind is None or version not in kind.versions:
        raise Failure(400, f"the server does not serve {named.kind} in {named.api_version}")
    if not named.metadata.name:
        raise Failure(400, f"a {named.kind} of the transaction has no name")
    return Target(kind, version, named.metadata.namespace or kind.namespace or _DEFAULT, named.metadata.name)


def _outcome(before: Document | None, after: Document | None) -> Outcome:
    if after is None:
        return Outcome(outcome="deleted")
    if before is None:
        return Outcome(outcome="created", resource_version=after.revision)
    same = before.revision == after.revision
    return Outcome(outcome="unchanged" if same else "configured", resource_version=after.revision)
