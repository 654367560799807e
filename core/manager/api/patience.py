"""HTTP for strangers: whoever has not sent a whole request head in time is cut off (slow loris), or reads no answer.

uvicorn limits the time between two requests, and not the time that a head takes. Bodies are timed where they are read.
"""

import asyncio
from typing import Any
from weakref import WeakSet

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from core.manager.entrance import Strangers

PATIENCE = 10.0
"""Seconds for the head of a request, from the connection or from its first byte."""

STALLED = 60.0
"""Seconds without a byte taken by a client for whom there are more than its connection holds: it reads no more."""

WELCOME = "welcome"
"""What a server's application calls once it knows the client: name in the state of its ASGI scope."""

_GOODBYE = 0.2
"""Seconds that a client has for it when the server ends."""


class Opened:
    """The connections of a server. Beneath TLS some live on for a moment after the server has forgotten them."""

    def __init__(self, strangers: Strangers) -> None:
        self._strangers = strangers
        self._transports: WeakSet[asyncio.Transport] = WeakSet()

    def protocol(self, *arguments: Any, **named: Any) -> "PatientProtocol":
        """As uvicorn makes protocols; the signature is uvicorn's."""
        made = PatientProtocol(*arguments, **named)
        made.opened, made.strangers = self._transports, self._strangers
        made.app_state = {**made.app_state, WELCOME: made.welcome}
        return made

    async def hurry(self) -> None:
        """Until cancelled: ends connections that only wait for the client to say goodbye in TLS, too."""
        while True:
            await asyncio.sleep(_GOODBYE)
            for transport in self._transports:
                if transport.is_closing():
                    transport.abort()

    async def abort(self) -> None:
        """Returns when no socket is open any more."""
        for transport in self._transports:
            transport.abort()
        for _ in range(3):  # asyncio closes a socket two turns later
            await asyncio.sleep(0)


class PatientProtocol(H11Protocol):
    """One connection."""

    opened: "WeakSet[asyncio.Transport]"
    strangers: Strangers
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.opened.add(transport)
        self.strangers.enter(self, transport.abort)
        self._deadline = self.loop.call_later(PATIENCE, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if waiting and self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.close)
        elif not waiting:
            self._forget()

    def welcome(self) -> None:
        """The client is known: it may stay."""
        self.strangers.leave(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        self._resume()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._resume()
        self.strangers.leave(self)
        super().connection_lost(exc)

    def _resume(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
