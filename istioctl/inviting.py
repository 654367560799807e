"""Kubeconfigs for others: a file that is there once, for its owner alone, and a token that is good for it only.

What is asked of the Manager is little; what takes care is that neither a file nor a token is left over.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from core.errors import Conflict, Misconfigured, NotFound
from core.manager.api.callers import Admitted, Listed, Newcomer
from core.manager.paths import kubeconfig
from istioctl.client import Api
from istioctl.output import age, table

STDOUT: Final = Path("-")

_File = Mapping[str, object]


def own(state: Path) -> Path:
    """The kubeconfig of the mesh. Raises `NotFound` where the Manager serves no HTTPS."""
    path = kubeconfig(state).absolute()
    if not path.exists():
        raise NotFound(f"the Manager serves no HTTPS: there is no {path}", fix="start it with api_listen set")
    return path


def invite(api: Api, state: Path, wanted: Newcomer, *, to: IO[bytes]) -> Admitted:
    """Lets somebody in, and writes their kubeconfig. Where that fails, nobody is let in. Raises `MeshError`."""
    api.release()
    pattern: _File = msgspec.json.decode(own(state).read_bytes(), type=dict[str, object])
    made = _admitted(api, wanted)
    try:
        to.write(msgspec.json.format(msgspec.json.encode(_for(made, pattern)), indent=2) + b"\n")
        to.flush()
    except OSError as error:
        api.revoke(wanted.name)
        raise Misconfigured(f"cannot write the kubeconfig: {error.strerror}; nobody was let in") from error
    return made


def _admitted(api: Api, wanted: Newcomer) -> Admitted:
    try:
        return api.admit(wanted)
    except Conflict as error:
        raise Conflict(str(error), fix=f"istioctl kubeconfig revoke {wanted.name}, or another NAME") from error


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """For its owner alone; gone again where what should be in it did not come. Raises `Misconfigured`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Misconfigured(f"{path} exists already", fix="name another file with -o, or remove that one") from error
    except OSError as error:
        raise Misconfigured(f"cannot write {path}: {error.strerror}", fix="name another file with -o") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _for(made: Admitted, pattern: _File) -> _File:
    """The same API, asked as somebody else: their name stands in the file, and for a namespace they begin there."""
    contexts = msgspec.convert(pattern["contexts"], list[dict[str, object]])
    (first, *_) = contexts
    context = msgspec.convert(first["context"], dict[str, object])
    mine = {**context, "user": made.caller.name, "namespace": made.caller.namespace or "default"}
    return {
        **pattern,
        "users": [{"name": made.caller.name, "user": {"token": made.token}}],
        "contexts": [{**first, "context": mine}],
    }


def listing(found: tuple[Listed, ...], *, now: float | None = None) -> str:
    """A row for each. `now` in seconds since the epoch."""
    moment = time.time() if now is None else now
    rows = (
        (each.name, each.role, each.namespace or "-", _end(each, moment), "yes" if each.owner else "no")
        for each in found
    )
    return table(("NAME", "ROLE", "NAMESPACE", "ENDS", "OWNER"), rows)


def _end(listed: Listed, now: float) -> str:
    if not listed.until:
        return "never"
    return f"in {age(listed.until - now)}" if listed.until > now else "over"
