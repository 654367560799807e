"""The route by which several objects are written as one transaction: an order each, and all of them or none.

With `dryRun=All` it is a rehearsal: every order is tried upon those before it, and nothing is stored.
"""

import time
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import MeshError
from core.kinds.registry import find
from core.manager.api.access import Caller, Role
from core.manager.api.answers import answer, failure_of
from core.manager.api.failures import Failure
from core.manager.api.objects import Metadata
from core.manager.api.questions import author_of, body_of, is_dry_run, manager_of, validation_of
from core.manager.api.target import Target
from core.manager.api.tolerance import Validation
from core.manager.api.transactions import LARGEST, PATH, Order, Outcome, Outcomes, Transaction
from core.manager.api.writing import Intent, Writer
from core.model.commit import settle
from core.model.config import ConfigKey, Document, Remove, Write
from core.ports import VersionedStore

_DEFAULT: Final = "default"


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    metadata: Metadata


class _Sender(msgspec.Struct, frozen=True):
    manager: str
    author: str
    validation: Validation
    caller: Caller | None = None


class Together:
    """Understands transactions, commits and rehearses them."""

    def __init__(self, store: VersionedStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    @property
    def route(self) -> Route:
        return Route(PATH, self._answer, methods=["POST"])

    async def _answer(self, request: Request) -> Response:
        rehearsal = is_dry_run(request)
        orders = _decoded(await body_of(request, largest=LARGEST))
        sender = _Sender(manager_of(request), author_of(request), validation_of(request), _caller(request))
        if rehearsal:
            request.state.object = f"a transaction of {len(orders)} objects"
            return answer(Outcomes(await self._rehearse(orders, sender)))
        targets = [_target(order) for order in orders]
        request.state.object = ", ".join(f"{target} in {target.namespace}" for target in targets)
        return answer(Outcomes(await self._commit(orders, targets, sender)))

    async def _commit(self, orders: tuple[Order, ...], targets: list[Target], sender: _Sender) -> tuple[Outcome, ...]:
        """Every document is read just before its order is looked at: proxies are served between any two of them."""
        found, writes = [], []
        for order, target in zip(orders, targets, strict=True):
            found.append(await self._store.get(target.key))
            writes.append(await self._write(order, _intent(target, sender), found[-1]))
        after = await self._store.commit(tuple(writes), author=sender.author)
        return tuple(
            _outcome(old, new, version=new.revision if new else "") for old, new in zip(found, after, strict=True)
        )

    async def _rehearse(self, orders: tuple[Order, ...], sender: _Sender) -> tuple[Outcome, ...]:
        """No order keeps those after it from being tried, so that one rehearsal finds every mistake."""
        fresh: dict[ConfigKey, Document | None] = {}
        outcomes = []
        for number, order in enumerate(orders):
            try:
                outcomes.append(await self._tried(order, sender, fresh, last=number - len(orders) - 1))
            except Failure as failure:
                outcomes.append(Outcome(outcome="refused", failure=failure.status))
            except MeshError as error:
                outcomes.append(Outcome(outcome="refused", failure=failure_of(error).status))
        return tuple(outcomes)

    async def _tried(
        self, order: Order, sender: _Sender, fresh: dict[ConfigKey, Document | None], *, last: int
    ) -> Outcome:
        """`last` lies below zero, so that what is only imagined has a revision that nothing stored can have."""
        target = _target(order)
        stored = await self._store.get(target.key)
        write = await self._write(order, _intent(target, sender), stored)
        before = fresh.setdefault(target.key, stored)
        (after,) = settle((write,), fresh.get, last=last, now=time.time(), author="").results
        fresh[target.key] = after
        version = stored.revision if stored and after else ""
        return _outcome(before, after, version=version)

    async def _write(self, order: Order, intent: Intent, before: Document | None) -> Write:
        revision = _named(order).metadata.resource_version
        if revision and before is not None:
            revision = await self._writer.upon(revision, before)
        if order.verb == "remove":
            return Remove(intent.target.key, revision)
        if order.verb == "set" and before is not None:
            revision = revision or before.revision
        return self._writer.put(bytes(order.object), intent, before=before, revision=revision)


def _decoded(body: bytes) -> tuple[Order, ...]:
    """Raises `Failure` 400."""
    try:
        return msgspec.json.decode(body, type=Transaction).orders
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is no transaction: {error}") from error


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


def _intent(target: Target, sender: _Sender) -> Intent:
    """Raises `Failure` 403 where the sender may not write."""
    caller = sender.caller
    if caller and caller.role is Role.NAMESPACE and caller.namespace != target.namespace:
        said = f"{caller.name}, who is {caller.role} in namespace {caller.namespace}, may not write {target}"
        raise Failure(403, f"forbidden: {said} in namespace {target.namespace}")
    return Intent(target=target, manager=sender.manager, author=sender.author, validation=sender.validation)


def _named(order: Order) -> _Named:
    """Raises `Failure` 400."""
    try:
        return msgspec.json.decode(order.object, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"an object of the transaction does not say what it is: {error}") from error


def _target(order: Order) -> Target:
    """Raises `Failure` 400."""
    named = _named(order)
    group, _, version = named.api_version.rpartition("/")
    kind = find(group, named.kind)
    if kind is None or version not in kind.versions:
        raise Failure(400, f"the server does not serve {named.kind} in {named.api_version}")
    if not named.metadata.name:
        raise Failure(400, f"a {named.kind} of the transaction has no name")
    return Target(kind, version, named.metadata.namespace or kind.namespace or _DEFAULT, named.metadata.name)


def _outcome(before: Document | None, after: Document | None, *, version: str) -> Outcome:
    if after is None:
        return Outcome(outcome="deleted")
    if before is None:
        return Outcome(outcome="created", resource_version=version)
    same = before.revision == after.revision
    return Outcome(outcome="unchanged" if same else "configured", resource_version=version)
