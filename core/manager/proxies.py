"""The connected proxies: a socket for each workload, the streams on it, and what they refuse."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import assert_never

from core.errors import Denied
from core.manager.paths import xds_socket
from core.manager.pusher import Pusher
from core.manager.refusals import Blame, short_name, suspects
from core.manager.status import Delivery, ProxyStatus
from core.manager.xds.exchange import Acked, Event, Quiet, Refused, Stirred, TypeStatus
from core.manager.xds.resource import PUSH_ORDER, Resource, ResourceType
from core.manager.xds.server import Listening, Server
from core.manager.xds.stream import Dialect, Stream
from core.model.service import WorkloadKey
from core.model.workload import Node, workload_of_node

OnBlame = Callable[[Blame], None]
Connection = tuple[Node, Stream, float]


class Proxies:
    """Owns the streams. A workload's proxy is whoever connects to the workload's own socket and says its name."""

    def __init__(
        self, server: Server, pusher: Pusher, *, state: Path, on_blame: OnBlame, clock: Callable[[], float] = time.time
    ) -> None:
        self._server = server
        self._pusher = pusher
        self._state = state
        self._on_blame = on_blame
        self._clock = clock
        self._stirred = 0
        self._quiet = asyncio.Event()
        self._sockets: dict[WorkloadKey, Listening] = {}
        self._streams: dict[WorkloadKey, tuple[Connection, ...]] = {}
        self._blames: dict[tuple[WorkloadKey, ResourceType, str], Blame] = {}
        pusher.on_regroup(self.regroup)

    async def serve(self, workloads: set[WorkloadKey]) -> None:
        """Opens the sockets of new workloads, and closes those of workloads that are gone."""
        (self._state / "xds").mkdir(mode=0o700, parents=True, exist_ok=True)
        for key in workloads - self._sockets.keys():
            socket = xds_socket(self._state, key)
            self._sockets[key] = await self._server.listen(socket, partial(self.open, key))
        for key in self._sockets.keys() - workloads:
            await self._server.close(self._sockets.pop(key).path)
            for _, stream, _ in self._streams.pop(key, ()):
                self._server.hang_up(stream)

    def open(self, key: WorkloadKey, node: Node, dialect: Dialect) -> Stream:
        """A stream for whoever is known to be this workload. Raises `Denied` when it says it is another."""
        claimed = workload_of_node(node.id)
        if claimed != key:
            raise Denied(f"this socket is for {key}, but the proxy says it is {node.id!r}", fix="use its own socket")
        groups = self._pusher.groups(key)
        self._pusher.settle()
        before = [each[1] for each in self._streams.get(key, ())]
        stream = Stream(dialect=dialect, groups=groups, observe=partial(self._observe, key), before=before)
        self._streams[key] = (*self._beside(key, node), (node, stream, self._clock()))
        return stream

    def _beside(self, key: WorkloadKey, node: Node) -> tuple[Connection, ...]:
        """The other streams of this workload: gRPC has one for each target, and its processes; Envoy has one."""
        if not node.user_agent.startswith("gRPC "):
            return ()
        connected = self._server.streams()
        return tuple(each for each in self._streams.get(key, ()) if each[1] in connected)

    def regroup(self, key: WorkloadKey) -> None:
        """The workload came into another scope: its proxy follows other groups from now on."""
        for _, stream, _ in self._streams.get(key, ()):
            stream.watch(self._pusher.groups(key))

    def busy(self) -> bool:
        """Whether some proxy has not yet answered what it was, or is about to be, sent."""
        return self._stirred > 0

    async def answered(self, *, within: float) -> None:
        """Returns when all proxies have answered everything, at the latest after `within` seconds."""
        if not self._stirred:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), within)

    def delivered(self) -> list[int]:
        """The generation that each connected proxy has whole. What does not concern it, it has."""
        return [self._generation(stream) for _, (_, stream, _) in self._live()]

    def _live(self) -> list[tuple[WorkloadKey, Connection]]:
        connected = self._server.streams()
        return [(key, each) for key, found in self._streams.items() for each in found if each[1] in connected]

    # -- refusals ------------------------------------------------------------------------------------------------------

    def _observe(self, key: WorkloadKey, event: Event) -> None:
        match event:
            case Stirred():
                # Streams are counted, not workloads: while a proxy comes back, it may have two.
                self._stirred += 1
                self._quiet.clear()
            case Quiet():
                self._stirred -= 1
                if not self._stirred:
                    self._quiet.set()
            case Refused(resource=Resource() as resource):
                self._blame(key, event, resource)
            case Acked() | Refused():
                pass
            case _:
                assert_never(event)

    def _blame(self, key: WorkloadKey, event: Refused, resource: Resource) -> None:
        blame = Blame(
            workload=key,
            type=event.type,
            resource=resource.name,
            reason=event.message,
            suspects=suspects(resource, event.held, reason=event.message),
        )
        self._blames[key, event.type, resource.name] = blame
        self._on_blame(blame)

    def blames(self) -> tuple[Blame, ...]:
        """What is refused at this moment."""
        refused = {
            (key, type_.type, name)
            for key, (_, stream, _) in self._live()
            for type_ in stream.status().types
            for name in type_.refused
        }
        self._blames = {place: blame for place, blame in self._blames.items() if place in refused}
        return tuple(self._blames.values())

    # -- status --------------------------------------------------------------------------------------------------------

    def status(self) -> tuple[ProxyStatus, ...]:
        blames, live = self.blames(), sorted(self._live(), key=itemgetter(0))
        return tuple(
            self._status(key, [connection for _, connection in found], blames)
            for key, found in groupby(live, key=itemgetter(0))
        )

    def _status(self, key: WorkloadKey, connections: list[Connection], blames: tuple[Blame, ...]) -> ProxyStatus:
        node, _, since = connections[0]
        streams = [stream for _, stream, _ in connections]
        return ProxyStatus(
            workload=key,
            node=node.id,
            connected_since=since,
            user_agent=node.user_agent,
            generation=min(map(self._generation, streams)),
            deliveries=_deliveries(streams),
            refused=tuple(blame.refusal() for blame in blames if blame.workload == key),
            misled=self._misled(key, node),
        )

    def _misled(self, key: WorkloadKey, node: Node) -> str:
        """An agent elsewhere is told by an option how traffic is led to its proxy, and we by the registry."""
        told, workload = node.metadata.get("INTERCEPTION_MODE"), self._pusher.workload(key)
        if workload is None or told in (None, workload.interception):
            return ""
        return f"its agent leads traffic to it by {told}, and what it is sent is for {workload.interception}"

    def _generation(self, stream: Stream) -> int:
        """A proxy that rests has all there is: what came after its last push does not concern it."""
        return stream.status().delivered if stream.busy else self._pusher.generation


def _deliveries(streams: list[Stream]) -> tuple[Delivery, ...]:
    """Of a workload with several streams, the one that is behind."""
    found = [each for stream in streams for each in stream.status().types if each.subscribed]
    return tuple(_delivery(type_, [each for each in found if each.type is type_]) for type_ in PUSH_ORDER
                 if any(each.type is type_ for each in found))  # fmt: skip


def _delivery(type_: ResourceType, found: list[TypeStatus]) -> Delivery:
    sent, acked = max(each.sent for each in found), min(each.acked for each in found)
    return Delivery(
        type=short_name(type_),
        sent=str(sent or ""),
        acked=str(acked or ""),
        generation=acked,
        waiting=any(each.waiting for each in found),
        brought=any(each.brought for each in found),
    )
