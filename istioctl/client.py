"""A thin HTTP client for the config API. Knows the wire form, and no rules."""

import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from core.errors import Conflict, Expired, MeshError, NotFound, Unavailable
from core.kinds.kind import Kind
from core.manager.api.callers import OWNER, Admitted, Callers, Listed, Newcomer
from core.manager.api.callers import PATH as CALLERS
from core.manager.api.failures import Cause, Status
from core.manager.api.histories import History
from core.manager.api.objects import Resource, ResourceList
from core.manager.api.tokens import Made, Wanted
from core.manager.api.transactions import PATH as TRANSACTIONS
from core.manager.api.transactions import Order, Outcome, Outcomes, Transaction
from core.manager.status import MeshStatus
from core.model.service import WorkloadKey
from istioctl.managers import nearest, sockets
from istioctl.transport import Way

PATIENCE = 10.0
"""Seconds to wait for an answer; the Manager is on this machine."""

PATIENCE_EACH = 0.02
"""Seconds more, for each object of a transaction."""

TRIES = 5
LONGEST_PAUSE = 10.0
"""How often a request is made that is one too many, and for how many seconds a Manager may ask to wait between."""

QUIET = 30.0
"""Seconds without a word after which a watch is taken for broken: the Manager sends a bookmark every ten."""

T = TypeVar("T")


class Refused(MeshError):
    """The Manager understood the request and will not do it; `causes` say which fields are wrong."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.causes: tuple[Cause, ...] = status.details.causes


class Release(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


class Event(msgspec.Struct, frozen=True):
    """A line of a watch. `type`: ADDED, MODIFIED, DELETED with an object, BOOKMARK with its metadata, ERROR."""

    type: str
    object: msgspec.Raw


class Api:
    """One Manager, over one connection. Methods raise `Unavailable` when none answers, and `Refused` when it will not.

    `to` is a state directory of this machine, whose first Manager that answers is asked, or another way to a Manager.
    A context manager: leaving it closes the connection.
    """

    def __init__(self, to: Path | Way, *, timeout: float = PATIENCE) -> None:
        self._to = to
        self._timeout = timeout
        self._choose()

    def _choose(self) -> None:
        self._way: Way = nearest(self._to) if isinstance(self._to, Path) else self._to
        self._connection = self._way.connection(self._timeout)
        self._lost = False

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def release(self) -> Release:
        return self._ask("GET", "/version", Release)

    def status(self) -> MeshStatus:
        """Who is connected, and how far each has come."""
        return self._ask("GET", "/status", MeshStatus)

    def sent(self, key: WorkloadKey) -> dict[str, msgspec.Raw]:
        """What this Manager has for a proxy, as Envoy's config dump. Raises `NotFound` where that is not connected."""
        return self._ask("GET", f"/debug/config_dump?proxyID={quote(key.name)}.{key.namespace}", dict[str, msgspec.Raw])

    def find(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        """None when there is no such object."""
        try:
            return self._ask("GET", _path(kind, namespace, name), Resource)
        except NotFound:
            return None

    def history(self, kind: Kind, namespace: str, name: str) -> History:
        """Raises `NotFound` when there is no such object, and none is remembered."""
        return self._ask("GET", _path(kind, namespace, name) + "/history", History)

    def list(self, kind: Kind, namespace: str = "") -> tuple[Resource, ...]:
        """Objects in key order; namespace "" is all of them."""
        return self._ask("GET", _path(kind, namespace), ResourceList).items

    def snapshot(self, kind: Kind, namespace: str = "", *, name: str = "") -> ResourceList:
        """As `list`, of `name` alone if given; the list's own resource version is where a watch goes on."""
        return self._ask("GET", _path(kind, namespace) + _query(_one(name)), ResourceList)

    def watch(self, kind: Kind, namespace: str = "", *, name: str = "", since: str) -> Iterator[Event]:
        """Every change after resource version `since`, over a connection of its own, until the Manager ends it.

        Raises `Expired` when that lies too far back, and `Unavailable` when the connection breaks.
        """
        asked = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since}
        path = _path(kind, namespace) + _query({**asked, **_one(name)})
        self._connection.close()
        self._choose()
        connection = self._way.connection(QUIET)
        try:
            response = self._request(connection, "GET", path)
            if response.status >= 400:
                raise self._failure(msgspec.json.decode(response.read(), type=Status))
            while line := response.readline():
                yield self._event(line)
        except (OSError, HTTPException, msgspec.DecodeError) as error:
            raise self._way.unreachable(error) from error
        finally:
            connection.close()

    def _event(self, line: bytes) -> Event:
        event = msgspec.json.decode(line, type=Event)
        if event.type == "ERROR":
            raise self._failure(msgspec.json.decode(event.object, type=Status))
        return event

    def create(self, kind: Kind, resource: Resource, *, query: str = "") -> Resource:
        """Raises `Conflict` when it exists already."""
        return self._ask("POST", _path(kind, resource.metadata.namespace) + query, Resource, body=resource)

    def replace(self, kind: Kind, resource: Resource, *, query: str = "") -> Resource:
        """Raises `Conflict` when the stored object is not the one whose resource version is given."""
        path = _path(kind, resource.metadata.namespace, resource.metadata.name)
        return self._ask("PUT", path + query, Resource, body=resource)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Raises `NotFound`."""
        self._ask("DELETE", _path(kind, namespace, name), Status)

    def commit(self, orders: tuple[Order, ...]) -> tuple[Outcome, ...]:
        """All or none. Raises `Conflict` when a version is not the stored one, `NotFound` for removing nothing."""
        self._allow(PATIENCE + len(orders) * PATIENCE_EACH)
        return self._ask("POST", TRANSACTIONS, Outcomes, body=Transaction(orders)).outcomes

    def rehearse(self, orders: tuple[Order, ...]) -> tuple[Outcome, ...]:
        """What would become of each; one that is refused does not keep the others from being tried."""
        self._allow(PATIENCE + len(orders) * PATIENCE_EACH)
        outcomes = self._ask("POST", TRANSACTIONS + DRY_RUN, Outcomes, body=Transaction(orders)).outcomes
        for each in outcomes:
            if each.failure and (denied := self._way.refused(each.failure.code, each.failure.message)):
                raise denied
        return outcomes

    def create_token(self, wanted: Wanted) -> Made:
        """Raises `NotFound` when there is no such workload."""
        return self._ask("POST", "/v1/tokens", Made, body=wanted)

    def callers(self) -> tuple[Listed, ...]:
        """Who is let in over HTTPS."""
        return self._ask("GET", CALLERS, Callers).callers

    def admit(self, wanted: Newcomer) -> Admitted:
        """Raises `Conflict` when there is somebody of that name."""
        return self._ask("POST", CALLERS, Admitted, body=wanted)

    def revoke(self, name: str) -> None:
        """Raises `NotFound`, and `Conflict` for the owner."""
        self._ask("DELETE", f"{CALLERS}/{quote(name, safe='')}", Status)

    def rotate(self) -> None:
        """The owner's token is another one then, also in the kubeconfig of the mesh."""
        self._ask("POST", OWNER, Status)

    def _allow(self, seconds: float) -> None:
        """From the next request on, an answer may take so long."""
        self._timeout = self._connection.timeout = seconds
        if self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)

    def _ask(self, method: str, path: str, answer: type[T], *, body: object = None) -> T:
        code, content = self._exchange(method, path, msgspec.json.encode(body) if body else None)
        try:
            if code < 400:
                return msgspec.json.decode(content, type=answer)
            status = msgspec.json.decode(content, type=Status)
        except msgspec.DecodeError as error:
            raise MeshError(f"{self._way} answered {method} {path} with something else: {error}") from error
        raise self._failure(status)

    def _failure(self, status: Status) -> MeshError:
        return self._way.refused(status.code, status.message) or _failure(status)

    def _exchange(self, method: str, path: str, body: bytes | None, *, again: bool = True) -> tuple[int, bytes]:
        """Once more on a new connection when the Manager has closed an idle one: every verb here may be repeated.

        Where there are several, it may be another one: that which was asked before may be gone, also just now.
        """
        if self._lost:
            self._choose()
        used = self._connection.sock is not None
        try:
            return self._send(method, path, body)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if again and isinstance(error, ConnectionError) and (used or self._has_others()):
                self._choose()
                return self._exchange(method, path, body, again=False)
            self._lost = True
            raise self._way.unreachable(error) from error

    def _has_others(self) -> bool:
        return isinstance(self._to, Path) and len(sockets(self._to)) > 1

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Asks again, as often as that makes sense, when the Manager says that these were too many requests."""
        tried = 1
        while True:
            response = self._request(self._connection, method, path, body)
            content = response.read()
            if response.status != HTTPStatus.TOO_MANY_REQUESTS or tried == TRIES:
                return response.status, content
            tried += 1
            time.sleep(_pause(response.getheader("Retry-After", "")))

    def _request(self, connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json", **self._way.headers}
        connection.request(method, self._way.prefix + path, body, headers)
        return connection.getresponse()


def _pause(advised: str) -> float:
    """Seconds, from the header `Retry-After`."""
    return min(float(advised), LONGEST_PAUSE) if advised.isdecimal() else 1.0


DRY_RUN = "?" + urlencode({"dryRun": "All"})


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    parts = ["apis", kind.group, kind.versions[0]]
    parts += ["namespaces", namespace] if namespace else []
    parts += [kind.plural, name] if name else [kind.plural]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _query(asked: dict[str, str]) -> str:
    return "?" + urlencode(asked) if asked else ""


def _one(name: str) -> dict[str, str]:
    return {"fieldSelector": f"metadata.name={name}"} if name else {}


def _failure(status: Status) -> MeshError:
    match status.code:
        case 404:
            return NotFound(status.message)
        case 409:
            return Conflict(status.message)
        case 410:
            return Expired(status.message)
        case 429:
            return Unavailable(status.message, fix="do less at once, or wait a little")
        case 503:
            return Unavailable(status.message)
    return Refused(status)
