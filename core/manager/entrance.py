"""Lets clients in by TLS, for every server here: greets each in its own time, and keeps the number of strangers small.

A stranger has not said yet anything that proves who it is. When there are too many, the eldest has to go: whoever only
holds connections drives out itself, and a client that has business is known within milliseconds.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Final

HANDSHAKE: Final = 5.0
"""Seconds for that of TLS."""

_GOODBYE: Final = 2.0
"""Seconds for a client to say goodbye in TLS."""

_BACKLOG: Final = 1024
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BREATH: Final = 0.05
"""Seconds until accepting is tried again when the process has no descriptor left."""


class Strangers:
    """Knows how each can be sent away."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Hashable, Callable[[], object]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, who: Hashable, send_away: Callable[[], object]) -> None:
        """The eldest goes when there are too many. To enter twice changes nothing."""
        if who not in self._waiting:
            while len(self._waiting) >= self._most:
                self.send_eldest()
            self._waiting[who] = send_away

    def leave(self, who: Hashable) -> None:
        """It is known now, or gone; whoever is none may leave, too."""
        self._waiting.pop(who, None)

    def send_eldest(self) -> None:
        for eldest in self._waiting:
            self._waiting.pop(eldest)()
            return


class Entrance:
    """Accepts on a bound socket while `open` is entered. `factory` makes the protocol of each who has been greeted."""

    def __init__(
        self, context: ssl.SSLContext, factory: Callable[[], asyncio.BaseProtocol], strangers: Strangers
    ) -> None:
        self._context = context
        self._factory = factory
        self._strangers = strangers
        self._greetings: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self, listener: socket.socket) -> AsyncIterator[None]:
        """The listener is closed afterwards, and so are connections whose greeting is not over."""
        listener.setblocking(False)
        # Those it accepts inherit that. asyncio sees to it for listeners of its own; else a second write waits 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.listen(_BACKLOG)
        accepting = asyncio.create_task(self._accept(listener), name="entrance")
        try:
            yield
        finally:
            await asyncio.sleep(0)  # so that every greeting has begun, and closes what it holds
            tasks = (accepting, *self._greetings)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _FULL:
                    self._strangers.send_eldest()
                    await asyncio.sleep(_BREATH)
                continue
            self._begin(asyncio.create_task(self._greet(connection), name="greeting"))
            # Where more are waiting, accepting does not: whoever has to go would hold what a greeting takes until then.
            await asyncio.sleep(0)

    def _begin(self, greeting: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        self._greetings.add(greeting)
        greeting.add_done_callback(self._gone)
        # Not before it has begun: it could not close what it holds.
        self._strangers.enter(greeting, lambda: loop.call_soon(greeting.cancel))

    def _gone(self, greeting: asyncio.Task[None]) -> None:
        self._greetings.discard(greeting)
        self._strangers.leave(greeting)

    async def _greet(self, connection: socket.socket) -> None:
        """What is no TLS, or too slow, is nobody's failure but the client's."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(
                self._factory,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=_GOODBYE,
            )
