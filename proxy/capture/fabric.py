"""Networks for the workloads of one machine, without root: the host's side. The other side is `inside`.

    async with fabric() as net:
        pod = await net.add("reviews-v1", "198.18.0.1", policy=Policy(proxy=ByMark()))
        await create_subprocess_exec(*pod.enter, "curl", "http://ratings:9080/")

Nothing of it has a name anywhere: when this process ends, by whatever means, all is gone.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable

import msgspec

from core.errors import MeshError, Unavailable
from proxy.capture import apply, enter, outside, support
from proxy.capture.inside import readable
from proxy.capture.policy import Policy, checked
from proxy.capture.relay import Relay, Streams, relayed
from proxy.capture.wire import (
    Add,
    Answer,
    Ask,
    Expose,
    Listen,
    Network,
    Remove,
    Request,
    Unbound,
    WayOut,
    pair,
    receive,
    send,
)
from proxy.lifeline import Lifeline

_START = 10.0
"""Seconds within which the fabric's process answers."""


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One workload's network. `[*enter, program, argument…]` runs a program in it, everything else unchanged."""

    name: str
    address: str
    enter: tuple[str, ...]


class Fabric:
    """Made by `fabric()`. Every method raises `MeshError` when it is refused, `Unavailable` when the fabric is gone."""

    def __init__(self, line: socket.socket, network: Network, process: int) -> None:
        self._line = line
        self._network = network
        self._process = process
        self._asked = 0
        self._waiting: dict[int, asyncio.Future[tuple[Answer, list[int]]]] = {}
        self._relays: dict[str, contextlib.AsyncExitStack] = {}
        self._gone = asyncio.get_running_loop().create_future()

    async def add(self, name: str, address: str, *, policy: Policy | None, search: Iterable[str] = ()) -> Pod:
        """A pod; several at once take less time. `policy` None: nothing is captured there."""
        request = Add(name=name, address=address, policy=policy and checked(policy), search=tuple(search))
        answer, _ = await self._ask(request)
        network, mounts = answer.files
        user = "ns/user" if self._network.own_user else "-"
        places = (str(self._process), user, f"fd/{network}", f"fd/{mounts}")
        return Pod(name=name, address=address, enter=(sys.executable, "-I", "-S", enter.__file__, *places))

    async def remove(self, name: str) -> None:
        """Cuts the pod off, and closes what is exposed of it. What still runs in it is not ended."""
        if relays := self._relays.pop(name, None):
            await relays.aclose()
        await self._ask(Remove(name))

    async def expose(self, listening: socket.socket, address: str, port: int, *, announce: bool = False) -> None:
        """What this listening socket accepts is connected to a place in the mesh; the caller may close its copy.

        `announce`: by the PROXY protocol, version 1, so that the client's address survives.
        """
        await self._ask(Expose(address=address, port=port, proxy_protocol=announce), (listening.fileno(),))

    async def attach(self, name: str, port: int, *, address: str, target: int) -> None:
        """An application outside: what the pod's port accepts is connected to `address`:`target` of the host."""

        async def connect(client: asyncio.StreamWriter) -> Streams:
            return await asyncio.open_connection(address, target)

        listening = await self.listening(name, port)
        relays = self._relays.setdefault(name, contextlib.AsyncExitStack())
        await relays.enter_async_context(relayed(listening, Relay(connect)))

    async def listening(self, name: str, port: int) -> socket.socket:
        """A socket of the pod that listens on this port; it is the caller's."""
        _, (found,) = await self._ask(Listen(name, port))
        return socket.socket(fileno=found)

    async def unbound(self, name: str) -> socket.socket:
        """A socket of the pod (TCP), to connect from there; it is the caller's."""
        _, (found,) = await self._ask(Unbound(name))
        return socket.socket(fileno=found)

    async def way_out(self) -> tuple[socket.socket, socket.socket]:
        """Two sockets, the caller's: one accepts what leaves the pods' network, one hears what proxies ask of DNS."""
        _, (connections, queries) = await self._ask(WayOut())
        return socket.socket(fileno=connections), socket.socket(fileno=queries)

    async def open_outside(self) -> None:
        """Pods reach the rest of the world as this process does: by TCP, and by the names that its resolver knows."""
        connections, queries = await self.way_out()
        relays = self._relays.setdefault("", contextlib.AsyncExitStack())
        await relays.enter_async_context(relayed(connections, Relay(outside.connect)))
        await relays.enter_async_context(outside.resolving(queries))

    async def failed(self) -> None:
        """Returns never; raises `Unavailable` when the fabric's process ends."""
        await asyncio.shield(self._gone)

    async def listen(self) -> None:
        """Takes answers until the other side is gone."""
        while True:
            await readable(self._line)
            try:
                content, files = receive(self._line)
            except ConnectionError:
                content, files = b"", []
            if not content:
                break
            answer = msgspec.json.decode(content, type=Answer)
            if waiting := self._waiting.pop(answer.number, None):
                waiting.set_result((answer, files))
        self.lost()

    def lost(self) -> None:
        """Tells everybody who waits."""
        error = Unavailable("the process that holds the networks of the mesh has ended", fix="start the mesh again")
        for waiting in (*self._waiting.values(), self._gone):
            if not waiting.done():
                waiting.set_exception(error)
        self._gone.exception()

    async def close(self) -> None:
        for relays in self._relays.values():
            await relays.aclose()

    async def _ask(self, request: Request, files: tuple[int, ...] = ()) -> tuple[Answer, list[int]]:
        if self._gone.done():
            self._gone.result()
        self._asked += 1
        number = self._asked
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            send(self._line, Ask(number, request), files)
        except OSError as error:
            raise Unavailable(f"the process that holds the networks of the mesh cannot be told: {error}") from error
        answer, received = await waiting
        if answer.error:
            raise MeshError(answer.error, fix=answer.fix)
        return answer, received


@contextlib.asynccontextmanager
async def fabric(network: Network | None = None, *, lifeline: Lifeline | None = None) -> AsyncIterator[Fabric]:
    """Raises `Misconfigured` when this machine cannot; says what to install or switch on."""
    chosen = network or Network(backend=apply.available())
    await asyncio.to_thread(support.require, own_user=chosen.own_user)
    mine, its = pair()
    with mine:
        with its:
            process = await _start(chosen, its)
        if lifeline is not None:
            lifeline.add(process.pid)
        try:
            await _ready(mine)
            async with _answered(Fabric(mine, chosen, process.pid)) as made:
                yield made
        finally:
            mine.shutdown(socket.SHUT_RDWR)
            await _ended(process)
            if lifeline is not None:
                lifeline.remove(process.pid)


async def _start(network: Network, line: socket.socket) -> asyncio.subprocess.Process:
    """A session of its own, so that Ctrl-C does not take the network away from those who are still to stop in order."""
    flags = "-Urnm" if network.own_user else "-nm"
    program = (
        sys.executable,
        "-P",
        "-m",
        "proxy.capture.inside",
        str(os.getpid()),
        msgspec.json.encode(network).decode(),
    )
    return await asyncio.create_subprocess_exec(
        apply.program("unshare"), flags, *program, stdin=line.fileno(), stdout=2, start_new_session=True
    )


async def _ready(line: socket.socket) -> None:
    try:
        async with asyncio.timeout(_START):
            await readable(line)
    except TimeoutError:
        raise Unavailable(f"the process for the networks of the mesh did not answer in {_START:.0f} s") from None
    content, _ = receive(line)
    answer = msgspec.json.decode(content, type=Answer) if content else Answer(number=0, error="it ended at once")
    if answer.error:
        raise MeshError(f"the networks of the mesh cannot be made: {answer.error}", fix=answer.fix)


@contextlib.asynccontextmanager
async def _answered(made: Fabric) -> AsyncIterator[Fabric]:
    listening = asyncio.create_task(made.listen(), name="fabric")
    try:
        yield made
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        made.lost()
        await made.close()


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(2.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
