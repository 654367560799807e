"""One ADS stream: requests in, responses out. Pure and synchronous; no task, no clock, no grpc.

What goes out when is decided by `Rounds`, what the proxy has is known to the `Channel`s, bytes are the dialect's."""

from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex
from typing import Protocol, TypeVar

from core.manager.xds.channel import Batch, Channel, Flight
from core.manager.xds.exchange import (
    QUIET,
    STIRRED,
    Interest,
    Observer,
    Request,
    Response,
    StreamStatus,
    ignore,
)
from core.manager.xds.group import Group
from core.manager.xds.resource import BY_URL, PUSH_ORDER, Resource, ResourceType
from core.manager.xds.rounds import Rounds

T = TypeVar("T")

_REMEMBERED = 4
"""Versions of one type: gRPC has a stream for each process and target, and they come back one after the other."""


class Dialect(Protocol):
    """How requests are read and responses written: delta or state of the world."""

    def decode(self, raw: bytes) -> Request: ...

    def interest(self, request: Request, channel: Channel) -> Interest | None: ...

    def encode(self, response: Response) -> bytes: ...

    def sends_whole(self, type_: ResourceType) -> bool: ...

    def tells_removals(self, type_: ResourceType) -> bool: ...

    def says_version(self) -> bool: ...


class Stream:
    """What one proxy is sent. Poll until None after each `receive`, and when the callback of `attach` was called."""

    __slots__ = (
        "_at_work", "_channels", "_dialect", "_groups", "_left", "_observe", "_rounds", "_stirred", "_unread", "_wake",
    )  # fmt: skip

    def __init__(
        self,
        *,
        dialect: Dialect,
        groups: Sequence[Group],
        observe: Observer = ignore,
        before: Sequence["Stream"] = (),
    ) -> None:
        """`before`: the earlier streams of this proxy; where it cannot say what it has, they know."""
        self._dialect = dialect
        self._observe = observe
        self._groups = tuple(groups)
        # Of all the channels, the busy ones.
        self._at_work: set[ResourceType] = set()
        self._channels = {type_: self._channel(type_) for type_ in PUSH_ORDER}
        # What was left behind, by type and version.
        self._left = _left(before) if dialect.says_version() else {}
        self._rounds = Rounds(self._channels, self._groups)
        self._wake: Callable[[], None] | None = None
        self._unread = True
        self._stirred = False

    def _channel(self, type_: ResourceType) -> Channel:
        whole, tells_removals = self._dialect.sends_whole(type_), self._dialect.tells_removals(type_)
        channel = Channel(type_, at_work=self._at_work, whole=whole, tells_removals=tells_removals)
        channel.series = _series() if self._dialect.says_version() else ""
        return channel

    def attach(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever there may be something to poll."""
        self.detach()
        self._wake = wake
        for group in self._groups:
            group.on_settled(self._news)

    def detach(self) -> None:
        for group in self._groups:
            group.off_settled(self._news)
        self._wake = None
        self._rest_now()

    def _news(self) -> None:
        self._stir()
        if self._wake is not None:
            self._wake()

    def _stir(self) -> None:
        self._unread = True
        if not self._stirred:
            self._stirred = True
            self._observe(STIRRED)

    def _rest_now(self) -> None:
        if self._stirred:
            self._stirred = False
            self._observe(QUIET)

    def watch(self, groups: Sequence[Group]) -> None:
        """Follow other groups from now on, because the proxy came into another scope."""
        wake = self._wake
        self.detach()
        self._groups = tuple(groups)
        self._rounds.watch(self._groups)
        if wake is not None:
            self.attach(wake)
            self._news()

    @property
    def busy(self) -> bool:
        """Whether there is news to poll, or anything that was sent waits for an answer."""
        return self._unread or bool(self._at_work)

    def status(self) -> StreamStatus:
        types = tuple(channel.status() for channel in self._channels.values())
        return StreamStatus(delivered=self._rounds.delivered, types=types)

    def receive(self, raw: bytes) -> bool:
        """Take a request as it came; one for an unknown type is passed over. Whether there may be something to poll.

        Raises `BadRequest`: end the stream.
        """
        request = self._dialect.decode(raw)
        type_ = BY_URL.get(request.type_url)
        if type_ is None:
            return False
        channel, unread = self._channels[type_], self._unread
        self._stir()
        if request.answers_only and channel.subscribed:
            self._settle(channel, request)
        elif (interest := self._dialect.interest(request, channel)) is not None:
            self._rounds.look()
            self._settle(channel, request)
            self._subscribe(channel, interest)
        if unread or self._is_at_work():
            return True
        self._rest()
        return False

    def poll(self) -> bytes | None:
        """The next response to write now, made from the newest state; None: nothing until somebody says something."""
        if not (self._rounds.refresh() or self._unread):
            return None
        while True:
            if (channel := self._ready()) is not None:
                if (flight := channel.take_off(self._rounds.generation_of(channel.type))) is not None:
                    response = self._dialect.encode(self._response(channel, flight))
                    # Most responses are the only one: that is seen now, and not in another poll.
                    self._unread = self._is_at_work()
                    return response
            elif not self._rounds.step():
                self._rest()
                return None

    def _is_at_work(self) -> bool:
        """Whether there may be something to poll, groups apart."""
        return self._ready() is not None or not self._rounds.at_rest()

    def _ready(self) -> Channel | None:
        """The first channel, in push order, that may have something to send."""
        for type_ in PUSH_ORDER if self._at_work else ():
            if type_ in self._at_work and (channel := self._channels[type_]).flight is None:
                return channel
        return None

    def _rest(self) -> None:
        self._unread = False
        if not self._at_work:
            self._rounds.note_rest()
            self._rest_now()

    def _settle(self, channel: Channel, request: Request) -> None:
        flight = channel.flight
        if flight is None or request.nonce != flight.nonce:
            return
        event = channel.accept(flight) if request.error is None else channel.refuse(flight, request.error)
        self._rounds.settled(channel.type, flight.batch)
        if event is not None:
            self._observe(event)

    def _subscribe(self, channel: Channel, interest: Interest) -> None:
        channel.subscribed = True
        channel.named = channel.named or interest.named
        if interest.wildcard and not channel.wildcard:
            channel.widen()
            self._rounds.start_over(channel.type)
        elif channel.wildcard and not interest.wildcard:
            channel.narrow()
        channel.drop(interest.dropped)
        channel.add(interest.added)
        channel.recall(self._believable(channel, interest.versions))
        if had := self._claim(channel.type, interest.version):
            channel.resume(self._believable(channel, had))
        self._rounds.offer(channel.type, interest.added)
        if channel.wildcard:
            self._rounds.offer(channel.type, interest.dropped)
        if interest.repeat and not channel.busy():
            self._rounds.repeat(channel.type)

    def _claim(self, type_: ResourceType, version: str) -> dict[str, Resource]:
        """What a proxy had that came back with `version`; of that stream nothing is kept any longer."""
        left = self._left.get(type_, {})
        had = left.get(version, {})
        if had:
            _, _, series = version.rpartition(".")
            self._left[type_] = {each: known for each, known in left.items() if not each.endswith(series)}
        return had

    def memory(self, type_: ResourceType) -> dict[str, dict[str, Resource]]:
        """What the proxy may have when it comes back, by version; that of others of its kind included."""
        return {**self._left.get(type_, {}), **self._channels[type_].memory()}

    def _believable(self, channel: Channel, known: Mapping[str, T]) -> dict[str, T]:
        # Endpoints from before their cluster was replaced do not count.
        is_stale = self._rounds.is_cold if channel.type is ResourceType.ENDPOINTS else lambda _: False
        return {name: version for name, version in known.items() if not is_stale(name)}

    def _response(self, channel: Channel, flight: Flight) -> Response:
        changed = list(filter(None, flight.batch.values()))
        kept = _kept(channel, flight.batch) if flight.whole else []
        tells_removals = not flight.whole and len(changed) < len(flight.batch)
        if channel.type is ResourceType.CLUSTER:
            # What is kept may undo what was taken of a response that was refused.
            undone = [resource for resource in kept if resource.name in channel.unsure]
            self._rounds.clusters_sent([resource.name for resource in (*changed, *undone)])
        return Response(
            type=channel.type,
            version=flight.version,
            nonce=flight.nonce,
            resources=[*kept, *changed] if kept else changed,
            removed=[name for name, resource in flight.batch.items() if resource is None] if tells_removals else (),
        )


def _series() -> str:
    """Versions are unlike those of other streams, and of other Managers: they are compared when a proxy comes back."""
    return token_hex(4)


def _left(before: Sequence[Stream]) -> dict[ResourceType, dict[str, dict[str, Resource]]]:
    found: dict[ResourceType, dict[str, dict[str, Resource]]] = {type_: {} for type_ in PUSH_ORDER}
    for stream in before:
        for type_, known in found.items():
            known.update({version: had for version, had in stream.memory(type_).items() if had})
    return {type_: dict(list(known.items())[-_REMEMBERED:]) for type_, known in found.items()}


def _kept(channel: Channel, batch: Batch) -> list[Resource]:
    return [held for name, held in channel.held.items() if held is not None and name not in batch]
