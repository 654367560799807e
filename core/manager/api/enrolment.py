"""Letting people in, and out again: edits the file of tokens that all Managers look at, and the owner's kubeconfig.

What a role may do is none of its business (`guard`), nor what the file means (`access`).
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import Misconfigured
from core.kinds.names import is_dns_label
from core.manager.api import callers, kubeconfig
from core.manager.api.access import TOKENS, Caller, Role, TokenFile, caller_of, is_over, line_of
from core.manager.api.answers import answer
from core.manager.api.callers import Admitted, Callers, Listed, Newcomer
from core.manager.api.failures import Details, Failure, Status
from core.manager.api.questions import body_of
from core.manager.paths import api_directory
from core.manager.paths import kubeconfig as kubeconfig_path

LONGEST: Final = 10 * 365 * 24 * 3600.0
"""Seconds that somebody may be let in for, if there is to be an end at all."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


class Enrolment:
    """Of the state directory `state`. `clock` gives seconds since the epoch."""

    def __init__(self, state: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(callers.PATH, self._list, methods=["GET"]),
            Route(callers.PATH, self._create, methods=["POST"]),
            Route(callers.PATH + "/{name}", self._revoke, methods=["DELETE"]),
            Route(callers.OWNER, self._rotate, methods=["POST"]),
        )

    async def _list(self, request: Request) -> Response:
        return answer(Callers(await asyncio.to_thread(self.listed)))

    async def _create(self, request: Request) -> Response:
        wanted = _decode(await body_of(request))
        request.state.object = f"caller {wanted.name} ({wanted.role})"
        return answer(await asyncio.to_thread(self.create, wanted), code=201)

    async def _revoke(self, request: Request) -> Response:
        name = request.path_params["name"]
        request.state.object = f"caller {name}"
        await asyncio.to_thread(self.revoke, name)
        return answer(Status(status="Success", details=Details(name=name), code=200))

    async def _rotate(self, request: Request) -> Response:
        request.state.object = "the token of the owner"
        await asyncio.to_thread(self.rotate)
        return answer(Status(status="Success", code=200))

    # -- the file ------------------------------------------------------------------------------------------------------

    def listed(self) -> tuple[Listed, ...]:
        """In the order of the file, also those whose time is up."""
        path = self._file()
        text, owner = path.read_text("utf-8", "replace"), _owners(path)
        lines = ((line, caller_of(line)) for line in text.splitlines())
        return tuple(_listed(each, is_owner=line.split()[0] == owner) for line, each in lines if each)

    def create(self, wanted: Newcomer) -> Admitted:
        """Only the digest is kept. Raises `Failure` 409 when the name is taken."""
        until = int(self._clock() + wanted.ttl) if wanted.ttl else 0
        caller = Caller(wanted.name, Role(wanted.role), wanted.namespace, until)
        token = secrets.token_urlsafe(32)
        hashed = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
        with self._editing() as lines:
            lines[:] = [line for line in lines if not self._is_over(line)]
            if any(each.name == wanted.name for each in map(caller_of, lines) if each):
                raise Failure(409, f"there is somebody called {wanted.name} already")
            lines.append(line_of(hashed, caller))
        return Admitted(token=token, caller=_listed(caller, is_owner=False))

    def revoke(self, name: str) -> None:
        """All lines of that name. Raises `Failure` 404, and 409 for the owner."""
        if any(each.owner and each.name == name for each in self.listed()):
            raise Failure(409, f"{name} is the owner of this mesh, whose token can only be made anew")
        with self._editing() as lines:
            kept = [line for line in lines if (each := caller_of(line)) is None or each.name != name]
            if len(kept) == len(lines):
                raise Failure(404, f"there is nobody called {name}")
            lines[:] = kept

    def rotate(self) -> None:
        """First both tokens are good, then the kubeconfig has the new one, then the old one is good no more."""
        old, new = TokenFile(self._file()).admin_token(), secrets.token_urlsafe(32)
        with self._editing() as lines:
            place = next(i for i, line in enumerate(lines) if line.split()[:1] == [old])
            lines.insert(place, lines[place].replace(old, new, 1))
        path = kubeconfig_path(self._state)
        kubeconfig.put(path, kubeconfig.with_token(path.read_bytes(), new))
        with self._editing() as lines:
            lines[:] = [line for line in lines if line.split()[:1] != [old]]

    def _file(self) -> Path:
        """Raises `Failure` 503 where nobody is served but the owner of the socket."""
        path = api_directory(self._state) / TOKENS
        if not path.exists():
            raise Failure(503, "this mesh serves no HTTPS, and knows nobody but its owner")
        return path

    def _is_over(self, line: str) -> bool:
        caller = caller_of(line)
        return caller is not None and is_over(caller, self._clock())

    @contextlib.contextmanager
    def _editing(self) -> Iterator[list[str]]:
        """The lines; what they are at the end is the file then, whole. One Manager edits at a time."""
        path = self._file()
        with _alone(path.parent):
            lines = path.read_text("utf-8", "surrogateescape").splitlines()
            yield lines
            kubeconfig.put(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _owners(path: Path) -> str:
    """The token in the kubeconfig of the mesh; "" where somebody has taken it out of the file."""
    with contextlib.suppress(Misconfigured):
        return TokenFile(path).admin_token()
    return ""


def _listed(caller: Caller, *, is_owner: bool) -> Listed:
    return Listed(name=caller.name, role=caller.role, namespace=caller.namespace, until=caller.until, owner=is_owner)


def _decode(body: bytes) -> Newcomer:
    """Raises `Failure` 400."""
    try:
        wanted = msgspec.json.decode(body, type=Newcomer)
    except msgspec.DecodeError as error:
        raise Failure(400, f"this describes nobody: {error}") from error
    if not _NAME.fullmatch(wanted.name):
        raise Failure(400, f"{wanted.name!r} is no name: letters, digits and . _ @ - (63 at most)")
    if wanted.role not in list(Role):
        raise Failure(400, f"{wanted.role!r} is no role: {', '.join(Role)}")
    if (wanted.role == Role.NAMESPACE) != is_dns_label(wanted.namespace):
        raise Failure(400, "the role namespace has to name its namespace, and no other role may")
    if wanted.ttl and not 1 <= wanted.ttl <= LONGEST:
        raise Failure(400, f"a token is good for 1 s to {LONGEST / 86400:g} days, not for {wanted.ttl:g} s")
    return wanted
