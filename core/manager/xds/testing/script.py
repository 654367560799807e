"""A client that says exactly what a test tells it to, straight to a stream. It behaves like nobody: see `envoy`."""

from collections.abc import Iterable, Mapping

from core.manager.xds.exchange import Event
from core.manager.xds.group import Group, settle
from core.manager.xds.resource import PUSH_ORDER, ResourceType
from core.manager.xds.stream import Stream
from core.manager.xds.testing.things import Thing, resource
from core.manager.xds.testing.wire import Arrival, Say, Wire

_CLUSTER, _ENDPOINTS, _LISTENER, _ROUTES, _SECRET = PUSH_ORDER


def said(arrivals: Iterable[Arrival]) -> list[tuple[ResourceType, list[str]]]:
    """Types and names, in short."""
    return [(arrival.type, sorted(arrival.names)) for arrival in arrivals]


class Script:
    """A Manager's side (`publish`), a proxy's side (the rest), one group and one stream between them.

    Every action returns what the stream has to say next, in order.
    """

    def __init__(self, wire: Wire, *, group: Group | None = None, generation: int = 0) -> None:
        self.wire = wire
        self.group = group or Group()
        self.generation = generation
        self.events: list[Event] = []
        self.stream = Stream(dialect=wire.dialect, groups=[self.group], observe=self.events.append)
        self.names: dict[ResourceType, list[str]] = {type_: [] for type_ in PUSH_ORDER}
        self.nonces: dict[ResourceType, str] = {}

    def publish(self, type_: ResourceType, *things: Thing, without: Iterable[str] = ()) -> list[Arrival]:
        """One type changes, in a generation of its own."""
        return self.publish_all({type_: things}, {type_: without})

    def publish_all(
        self, put: Mapping[ResourceType, Iterable[Thing]], without: Mapping[ResourceType, Iterable[str]] | None = None
    ) -> list[Arrival]:
        """Everything changes in one generation."""
        self.generation += 1
        for type_, names in (without or {}).items():
            for name in names:
                self.group[type_].remove(name, self.generation)
        for type_, things in put.items():
            for thing in things:
                self.group[type_].put(resource(type_, thing), self.generation)
        settle([self.group], self.generation)
        return self.poll()

    def subscribe(self, type_: ResourceType, *names: str, versions: Mapping[str, str] | None = None) -> list[Arrival]:
        """Also ask for `names`; without any, ask for the type."""
        self.names[type_] += [name for name in names if name not in self.names[type_]]
        return self.say(Say(type=type_, names=self.names[type_], more=names, versions=versions or {},
                            nonce=self.nonces.get(type_, "")))  # fmt: skip

    def unsubscribe(self, type_: ResourceType, *names: str) -> list[Arrival]:
        self.names[type_] = [name for name in self.names[type_] if name not in names]
        return self.say(Say(type=type_, names=self.names[type_], less=names, nonce=self.nonces.get(type_, "")))

    def ack(self, arrival: Arrival) -> list[Arrival]:
        return self._answer(arrival, None)

    def refuse(self, arrival: Arrival, text: str = "no") -> list[Arrival]:
        return self._answer(arrival, text)

    def _answer(self, arrival: Arrival, error: str | None) -> list[Arrival]:
        names = self.names[arrival.type]
        return self.say(Say(type=arrival.type, names=names, nonce=arrival.nonce, answers=True, error=error))

    def say(self, say: Say) -> list[Arrival]:
        self.stream.receive(self.wire.request(say))
        return self.poll()

    def poll(self) -> list[Arrival]:
        arrivals = []
        while (raw := self.stream.poll()) is not None:
            arrival = self.wire.arrival(raw)
            self.nonces[arrival.type] = arrival.nonce
            arrivals.append(arrival)
        return arrivals

    def run(self) -> "Script":
        """Come to where a proxy has cluster a with endpoints, listener l, routes r to a, and secret s."""
        self.publish_all(
            {
                _CLUSTER: [Thing(name="a", eds=True)],
                _ENDPOINTS: [Thing(name="a")],
                _LISTENER: [Thing(name="l", routes=("r",))],
                _ROUTES: [Thing(name="r", clusters=("a",))],
                _SECRET: [Thing(name="s")],
            }
        )
        for type_, names in ((_CLUSTER, ()), (_ENDPOINTS, "a"), (_LISTENER, ()), (_ROUTES, "r"), (_SECRET, "s")):
            self.settle_down(self.subscribe(type_, *names))
        self.events.clear()
        return self

    def settle_down(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Accept these and whatever follows; everything that arrived, these included."""
        seen, todo = [], list(arrivals)
        while todo:
            seen.append(todo[0])
            todo += self.ack(todo.pop(0))
        return seen
