"""The files that a mesh file names as secrets, as a `SecretStore`: read again whenever one of them changes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from core.aio.feed import Feed
from core.model.change import SecretChange, SecretGone, SecretPut, Synced
from core.model.secret import Sealed, Secret, SecretKey
from platforms.local.meshfile import SecretSpec

_State = tuple[int, int, int] | int
"""Inode, time of change and size; or the errno when there is no file."""

Wanted = Callable[[], tuple[SecretSpec, ...] | None]
"""What the mesh file names at the moment; None before it was read."""


class FileSecrets:
    """A `SecretStore`. Paths are relative to `home`. A certificate and its key are taken once both have held still."""

    def __init__(self, *, home: Path, every: float) -> None:
        self._home = home
        self._every = every
        self._feed: Feed[SecretKey, Secret, SecretChange] = Feed(put=SecretPut, gone=SecretGone, synced=Synced())
        self._states: dict[SecretSpec, tuple[_State, ...]] = {}
        self._read: dict[SecretSpec, Secret] = {}

    def watch(self) -> AsyncIterator[SecretChange]:
        return self._feed.watch()

    def values(self) -> tuple[Secret, ...]:
        """What was told last."""
        return self._feed.values()

    async def follow(self, wanted: Wanted) -> None:
        """Looks at the files again and again, until it is cancelled."""
        while True:
            specs = wanted()
            if specs is not None:
                self.look(specs)
            await asyncio.sleep(self._every)

    def look(self, specs: tuple[SecretSpec, ...]) -> None:
        """Looks once. What is new is read at once, what has changed when it looks the same the second time."""
        for spec in specs:
            before, now = self._states.get(spec), self._state(spec)
            if before is None or (before == now and spec not in self._read):
                self._read[spec] = self._secret(spec)
            elif before != now:
                self._read.pop(spec, None)
            self._states[spec] = now
        self._forget(specs)
        current = {secret.name: secret for spec in specs if (secret := self._latest(spec)) is not None}
        self._feed.replace(current)
        self._feed.complete()

    def _latest(self, spec: SecretSpec) -> Secret | None:
        """While a file changes, what was told last."""
        return self._read.get(spec) or self._feed.get(spec.secret)

    def _forget(self, specs: tuple[SecretSpec, ...]) -> None:
        for spec in self._states.keys() - set(specs):
            del self._states[spec]
            self._read.pop(spec, None)

    def _state(self, spec: SecretSpec) -> tuple[_State, ...]:
        return tuple(_state(self._home / path) for path in (spec.certificate, spec.key, spec.roots) if path)

    def _secret(self, spec: SecretSpec) -> Secret:
        try:
            chain, key = (self._home / spec.certificate).read_bytes(), (self._home / spec.key).read_bytes()
            roots = (self._home / spec.roots).read_bytes() if spec.roots else b""
        except OSError as error:
            reason = f"{error.filename} cannot be read: {error.strerror or error}"
            return Secret(name=spec.secret, problem=reason)
        return Secret(name=spec.secret, chain=chain, key=Sealed(key), roots=roots)

    def close(self, error: BaseException | None = None) -> None:
        """Ends every watch."""
        self._feed.close(error)


def _state(path: Path) -> _State:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or -1
    return found.st_ino, found.st_mtime_ns, found.st_size
