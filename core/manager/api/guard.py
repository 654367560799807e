"""Stands before the application: who is asking, whether they may, whether too often; and notes what was written.

Pure ASGI, so that a watch streams through it. What the verbs do is none of its business.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.manager.api.access import Caller, Role
from core.manager.api.answers import failed
from core.manager.api.audit import AUDIT, AuditLog, Entry
from core.manager.api.failures import Failure
from core.manager.api.patience import WELCOME
from core.manager.api.transactions import PATH as TRANSACTIONS
from core.manager.api.watching import last_line

Authenticate = Callable[[Headers], Caller | None]

REVIEWS: Final = (
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
)
"""Where everybody who is known may ask what they may. Questions, although they are posted."""

_OPEN: Final = ("/healthz", "/livez", "/readyz")
_NEUTRAL: Final = re.compile(r"/(version|api|apis|apis/[^/]+|apis/[^/]+/[^/]+|openapi/v[23](/.*)?)/?")
_PLACED: Final = re.compile(r"/apis/[^/]+/[^/]+/namespaces/(?P<namespace>[^/]+)/.+")
_READING: Final = ("GET", "HEAD", "OPTIONS")
_WATCHING: Final = re.compile(rb"(?:^|&)watch=")
LOOK_EVERY: Final = 0.5
"""Seconds after which it is looked again whether who watches may still do so."""

MOST_WATCHES: Final = 200
"""By one caller at a time: who forgets to close them leaves connections to others (`api.server.MOST_CONNECTIONS`)."""

_ENDING: Final = "the Manager ends now; what was asked for may be done or not: look before asking again"

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Rate(msgspec.Struct, frozen=True):
    """`steady` requests a second, and `burst` at once. The default is far beyond what a person or a client-go needs."""

    steady: float = 1000.0
    burst: float = 3000.0


class Guard:
    """An ASGI application around another. `authenticate` says who sent these headers; None: nobody we know."""

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        *,
        audit: AuditLog,
        rate: Rate = Rate(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._audit = audit
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._watches: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        caller = self._authenticate(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["caller"] = caller
        noting = self._noting(scope, caller, send)
        try:
            self._check(scope, caller)
        except Failure as failure:
            response = await failed(Request(scope), failure)
            response.headers.update(_advice(failure))
            await response(scope, receive, noting)
            return
        state.get(WELCOME, _stay)()
        if caller and _WATCHING.search(scope["query_string"]):
            with self._counted(caller):
                await self._while_known(scope, receive, noting)
        else:
            await self._to_the_end(scope, receive, noting)

    async def _to_the_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the server cancels when its own time is over is answered all the same: the client has to know."""
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            if answer.begun:
                raise
            response = await failed(Request(scope), Failure(503, _ENDING))
            await response(scope, receive, send)

    async def _while_known(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A watch ends, with the reason, when whoever asked for it is not let in any more, or as somebody else."""
        headers, caller = Headers(scope=scope), scope["state"]["caller"]
        answer = _Answer(send)
        answering = asyncio.ensure_future(self._app(scope, receive, answer))
        try:
            while not (await asyncio.wait({answering}, timeout=LOOK_EVERY))[0]:
                if answer.begun and self._authenticate(headers) != caller:
                    break
            else:
                answering.result()
        finally:
            answering.cancel()
            await asyncio.wait({answering})
        if answering.cancelled():
            line = last_line(Failure(401, "Unauthorized: the token of this watch is not good any more"))
            await send({"type": "http.response.body", "body": line, "more_body": False})

    def _check(self, scope: Scope, caller: Caller | None) -> None:
        """Raises `Failure`: 429, 401, 403."""
        self._spend(caller.name if caller else "")
        if caller is None:
            raise Failure(401, "Unauthorized: send a token of this mesh's (istioctl kubeconfig names a file with one)")
        if not may(caller, scope["method"], scope["path"]):
            where = f" in namespace {caller.namespace}" if caller.namespace else ""
            said = f"{caller.name}, who is {caller.role}{where}, may not {scope['method']} {scope['path']}"
            raise Failure(403, f"forbidden: {said}")
        if _WATCHING.search(scope["query_string"]) and self._watches[caller.name] >= MOST_WATCHES:
            raise Failure(429, f"too many watches: {caller.name} has {MOST_WATCHES} open here; close some of them")

    @contextlib.contextmanager
    def _counted(self, caller: Caller) -> Iterator[None]:
        self._watches[caller.name] += 1
        try:
            yield
        finally:
            self._watches[caller.name] -= 1

    def _spend(self, name: str) -> None:
        """A bucket that fills steadily; all who are unknown share one. Raises `Failure` 429."""
        now = self._clock()
        left, since = self._buckets.get(name, (self._rate.burst, now))
        left = min(self._rate.burst, left + (now - since) * self._rate.steady)
        self._buckets[name] = (max(0.0, left - 1), now)
        if left < 1:
            raise Failure(429, "too many requests: wait a second", reason="TooManyRequests")

    def _noting(self, scope: Scope, caller: Caller | None, send: Send) -> Send:
        if scope["method"] in _READING or scope["path"] in REVIEWS:
            return send
        headers = Headers(scope=scope)
        unnoted: list[OSError] = []

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                state = scope["state"]
                entry = Entry(
                    who=caller.name if caller else "",
                    verb=_VERBS.get(scope["method"]) or str(scope["method"]),
                    object=state.get("object") or scope["path"],
                    outcome=message["status"],
                    agent=headers.get("user-agent", "")[:100],
                    dry_run=b"dryRun=All" in scope["query_string"],
                )
                try:
                    self._audit.note(entry)
                except OSError as error:
                    unnoted.append(error)
                    response = await failed(Request(scope), _unnoted(error))
                    await response(scope, _nothing, send)
            if not unnoted:
                await send(message)

        return noted


class _Answer:
    """Passes on what an application sends, and knows whether it has begun to."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        self.begun = True


def _stay() -> None:
    """Where nobody is sent away."""


def _unnoted(error: OSError) -> Failure:
    return Failure(503, f"what was asked for cannot be noted in {AUDIT}: {error.strerror}; look before asking again")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def may(caller: Caller, method: str, path: str) -> bool:
    """Whether the role allows a request."""
    if caller.role is Role.ADMIN or path in REVIEWS:
        return True
    reads = method in _READING
    if caller.role is Role.VIEWER:
        return reads
    if (method, path) == ("POST", TRANSACTIONS):
        return True  # Where its objects are is looked at there.
    placed = _PLACED.fullmatch(path)
    return bool(placed and placed["namespace"] == caller.namespace) or (reads and bool(_NEUTRAL.fullmatch(path)))


def _advice(failure: Failure) -> dict[str, str]:
    match failure.status.code:
        case 401:
            return {"WWW-Authenticate": "Bearer"}
        case 429:
            return {"Retry-After": "1"}
    return {}
