"""Steady load on a running mesh, while something happens to it; every call that fails is kept, with its time.

Half of the calls may be made on connections of their own, so that what only breaks handshakes is seen as well. Nothing
is tried again: what the proxies do not save, counts. Not for measuring speed.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count

import grpc
import msgspec

from core.simulate import Call
from istioctl.testing import grpc_line
from istioctl.testing.caller import Site, entrance, heard, request
from istioctl.testing.http_line import HttpLine
from istioctl.testing.reply import Reply

_PATIENCE = 10.0
_BYTES = b"\x00load\n"


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one kind, `rate` per second; `fresh`: each on a connection of its own, else all on one that is kept.

    `mark` tells lanes apart that are alike otherwise.
    """

    call: Call
    rate: float
    fresh: bool = False
    mark: str = ""

    def __str__(self) -> str:
        words = (self.call.host, self.call.protocol, "fresh" if self.fresh else "kept", self.mark)
        return " ".join(filter(None, words))


class Failure(msgspec.Struct, frozen=True):
    """`at`: seconds since the load began."""

    at: float
    lane: str
    what: str


class Tally:
    """What became of the calls so far."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.done: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        """By the application that answered."""
        self.failures: list[Failure] = []

    @property
    def total(self) -> int:
        return sum(self.done.values())

    def note(self, lane: Lane, reply: Reply | str) -> None:
        what = _wrong(lane, reply)
        self.done[str(lane)] += 1
        if what:
            self.failures.append(Failure(round(time.monotonic() - self.started, 3), str(lane), what))
        elif isinstance(reply, Reply):
            self.answered[reply.app] += 1

    def __str__(self) -> str:
        lines = [f"{lane}: {number}" for lane, number in sorted(self.done.items())]
        return "\n".join([*lines, f"failed: {len(self.failures)}", *map(str, self.failures[:20])])


def _wrong(lane: Lane, reply: Reply | str) -> str:
    if isinstance(reply, str):
        return reply
    if lane.call.protocol == "grpc" and reply.grpc != 0:
        return f"gRPC status {reply.grpc}: {reply.body.decode(errors='replace')[:300]}"
    return "" if reply.status == 200 else f"status {reply.status}: {reply.body.decode(errors='replace')[:300]}"


def lanes(calls: Sequence[Call], *, rate: float) -> tuple[Lane, ...]:
    """`rate` calls per second in all, spread evenly over `calls`, half of them on fresh connections."""
    each = rate / len(calls) / 2
    return tuple(Lane(call=call, rate=each, fresh=fresh) for call in calls for fresh in (False, True))


def load(site: Site, driven: Sequence[Lane]) -> contextlib.AbstractAsyncContextManager[Tally]:
    """Makes calls while the context is open, and lets those under way end before it closes."""
    return driving((lane, entrance(site, lane.call)) for lane in driven)


@contextlib.asynccontextmanager
async def driving(driven: Iterable[tuple[Lane, tuple[str, int]]]) -> AsyncIterator[Tally]:
    """As `load`, where each lane comes with the address and port to connect to."""
    tally, stop = Tally(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for lane, address in driven:
            tasks.create_task(_drive(lane, address, tally, stop), name=str(lane))
        try:
            yield tally
        finally:
            stop.set()


async def _drive(lane: Lane, address: tuple[str, int], tally: Tally, stop: asyncio.Event) -> None:
    async with contextlib.AsyncExitStack() as stack:
        line = await stack.enter_async_context(_line(lane, address))
        started = time.monotonic()
        for number in count():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, started + number / lane.rate - time.monotonic()))
            if stop.is_set():
                return
            tally.note(lane, await _outcome(line))


async def _outcome(line: "_Line") -> Reply | str:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await line.once()
    except TimeoutError:
        return f"no answer within {_PATIENCE:g} s"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


@contextlib.asynccontextmanager
async def _line(lane: Lane, address: tuple[str, int]) -> AsyncIterator["_Line"]:
    made = _GrpcLine(lane, address) if lane.call.protocol == "grpc" else _SocketLine(lane, address)
    try:
        yield made
    finally:
        await made.close()


class _Line:
    """Makes calls one after the other."""

    async def once(self) -> Reply:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class _SocketLine(_Line):
    def __init__(self, lane: Lane, address: tuple[str, int]) -> None:
        self._lane = lane
        self._address = address
        self._stack = contextlib.AsyncExitStack()
        self._line: HttpLine | None = None

    async def once(self) -> Reply:
        try:
            line = await self._opened()
            if self._lane.call.protocol == "tcp":
                return heard(await _some(line))
            return await line.exchange(request(self._lane.call))
        except BaseException:
            await self.close()
            raise

    async def _opened(self) -> HttpLine:
        """The line that is kept, unless it was closed as HTTP allows."""
        if self._line is None or self._lane.fresh or not self._line.open:
            await self.close()
            self._line = await self._stack.enter_async_context(HttpLine(self._address))
        return self._line

    async def close(self) -> None:
        self._line = None
        await self._stack.aclose()


async def _some(line: HttpLine) -> bytes:
    """Raises `ConnectionResetError` where nothing comes: such a line is of no more use."""
    data = await line.raw(_BYTES)
    if not data:
        raise ConnectionResetError("closed without an answer")
    return data


class _GrpcLine(_Line):
    def __init__(self, lane: Lane, address: tuple[str, int]) -> None:
        self._lane = lane
        self._address = address
        self._stack = contextlib.AsyncExitStack()
        self._channel: grpc.aio.Channel | None = None

    async def once(self) -> Reply:
        if self._lane.fresh:
            async with grpc_line.channel(self._lane.call, self._address) as opened:
                return await grpc_line.ask(opened, self._lane.call)
        if self._channel is None:
            self._channel = await self._stack.enter_async_context(grpc_line.channel(self._lane.call, self._address))
        return await grpc_line.ask(self._channel, self._lane.call)

    async def close(self) -> None:
        await self._stack.aclose()
