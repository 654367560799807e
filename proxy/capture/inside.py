"""The fabric's process: holds the pods of one machine and relays into them. `unshare … python -m proxy.capture.inside`.

Its standard input is the line to the host's side; when that breaks, everything is gone: namespaces have no names.
Single-threaded, because it moves between networks.
"""

import asyncio
import contextlib
import os
import socket
import sys

import msgspec

from core.errors import MeshError, NotFound
from proxy.capture import pod, syscalls
from proxy.capture.apply import program, put, run
from proxy.capture.relay import Relay, Streams, relayed
from proxy.capture.rules import DNS, TCP, UDP, Chain, Match, Redirect, Rule, Table
from proxy.capture.wire import Add, Answer, Ask, Expose, Listen, Network, Remove, Unbound, WayOut, receive, send
from proxy.launch import die_with

_WAY_OUT = 15001
_AT_ONCE = 8
"""Pods in the making at a time."""


class Pod(msgspec.Struct, frozen=True):
    """What keeps a pod alive: its number, and descriptors of its network and mounts."""

    address: str
    number: int
    network: int
    mounts: int


class Inside:
    """Owns the pods; everything runs in `group`."""

    def __init__(self, line: socket.socket, network: Network, group: asyncio.TaskGroup) -> None:
        self._line = line
        self._network = network
        self._group = group
        self._pods: dict[str, Pod] = {}
        self._doors: dict[str, list[asyncio.Task[None]]] = {}
        """What is exposed, by the address that it leads to."""
        self._numbers = 0
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Until the other end of the line is gone."""
        self._lay()
        send(self._line, Answer(number=0))
        while True:
            await readable(self._line)
            content, files = receive(self._line)
            if not content:
                return
            ask = msgspec.json.decode(content, type=Ask)
            self._group.create_task(self._answer(ask, files))

    def _lay(self) -> None:
        """The bridge that all pods hang on."""
        network = self._network
        lines = (
            "link set lo up",
            f"link add {pod.BRIDGE} type bridge",
            f"addr add {network.gateway}/{network.prefix} dev {pod.BRIDGE}",
            f"link set {pod.BRIDGE} up",
        )
        run([program("ip"), "-batch", "-"], "\n".join((*lines, "")))

    async def _answer(self, ask: Ask, files: list[int]) -> None:
        try:
            await self._do(ask, files)
        except MeshError as error:
            self._say(Answer(number=ask.number, error=str(error), fix=error.fix))
        except OSError as error:
            self._say(Answer(number=ask.number, error=f"the fabric failed: {error}"))

    async def _do(self, ask: Ask, files: list[int]) -> None:
        match ask.request:
            case Add() as add:
                made = await self._add(add)
                self._say(Answer(number=ask.number, files=(made.network, made.mounts)))
            case Remove(name):
                await self._remove(name)
                self._say(Answer(number=ask.number))
            case Listen(name, port):
                with self._listening(name, port) as listening:
                    self._say(Answer(number=ask.number), (listening.fileno(),))
            case Unbound(name):
                with self._unbound(name) as unbound:
                    self._say(Answer(number=ask.number), (unbound.fileno(),))
            case WayOut():
                connections, queries = self._way_out()
                with connections, queries:
                    self._say(Answer(number=ask.number), (connections.fileno(), queries.fileno()))
            case Expose() as expose:
                serving = self._expose(expose, socket.socket(fileno=files[0]))
                self._doors.setdefault(expose.address, []).append(self._group.create_task(serving))
                self._say(Answer(number=ask.number))

    def _say(self, answer: Answer, files: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send(self._line, answer, files)

    async def _add(self, request: Add) -> Pod:
        if request.name in self._pods:
            raise MeshError(f"there is a pod {request.name} already", fix="remove it first")
        self._numbers += 1
        number = self._numbers
        async with self._at_once:
            making = pod.begin(request, number, self._network)
            await readable(making.end)
            made = Pod(request.address, number, *pod.finish(making))
        self._pods[request.name] = made
        return made

    async def _remove(self, name: str) -> None:
        """The doors that led there are closed as well: who comes next may open them anew."""
        gone = self._known(name)
        del self._pods[name]
        if doors := self._doors.pop(gone.address, []):
            for door in doors:
                door.cancel()
            await asyncio.wait(doors)
        pod.destroy(gone.number)
        os.close(gone.network)
        os.close(gone.mounts)

    def _known(self, name: str) -> Pod:
        if name not in self._pods:
            raise NotFound(f"there is no pod {name}")
        return self._pods[name]

    def _listening(self, name: str, port: int) -> socket.socket:
        with syscalls.within(self._known(name).network):
            return socket.create_server(("0.0.0.0", port), backlog=1024)

    def _unbound(self, name: str) -> socket.socket:
        with syscalls.within(self._known(name).network):
            return socket.socket()

    def _way_out(self) -> tuple[socket.socket, socket.socket]:
        """What is routed here and meant for elsewhere is led to one port of ours, DNS to another."""
        elsewhere = (TCP, Match("in", pod.BRIDGE), Match("destination", self._network.range, True))
        names = Rule((UDP, Match("in", pod.BRIDGE), DNS), Redirect(self._network.resolver_port))
        led = Chain("PREROUTING", (Rule(elsewhere, Redirect(_WAY_OUT)), names))
        put((Table("ip", "nat", (led,)),), self._network.backend)
        queries = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        queries.bind((self._network.gateway, self._network.resolver_port))
        return socket.create_server(("0.0.0.0", _WAY_OUT), backlog=1024), queries

    async def _expose(self, expose: Expose, listening: socket.socket) -> None:
        async def connect(client: asyncio.StreamWriter) -> Streams:
            return await asyncio.open_connection(expose.address, expose.port)

        async with relayed(listening, Relay(connect, proxy_protocol=expose.proxy_protocol)):
            await asyncio.get_running_loop().create_future()


async def readable(end: socket.socket) -> None:
    """Returns when there is something to read there."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(end, _told, ready)
    try:
        await ready
    finally:
        loop.remove_reader(end)


def _told(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


async def live(line: socket.socket, network: Network) -> None:
    async with asyncio.TaskGroup() as group:
        inside = Inside(line, network, group)
        try:
            await inside.run()
        except MeshError as error:
            send(line, Answer(number=0, error=str(error), fix=error.fix))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def main(parent: str, network: str) -> None:
    """The parent is told for the case that it ended before we could ask to die with it."""
    die_with(int(parent))
    os.environ["XTABLES_LOCKFILE"] = "/dev/null"  # nobody else is in here, and the usual place is root's
    line = socket.socket(fileno=os.dup(0))
    asyncio.run(live(line, msgspec.json.decode(network, type=Network)))


if __name__ == "__main__":
    main(*sys.argv[1:])
