"""A model of how Envoy takes xDS, as far as delivery has to reckon with it. Copied from Envoy 1.40's behaviour:

- CDS first; LDS is asked for when the first clusters are warm. Every first request may be answered empty.
- A new or changed cluster warms until its endpoints come *after* it and its secrets are there; the one it replaces
  serves meanwhile. From then on the answer to a CDS response is withheld while any cluster warms.
- A changed cluster that is subscribed to endpoints already: delta says nothing, state of the world repeats itself.
- A new or changed listener is acknowledged at once, warms until its routes and secrets are there, and then replaces
  its predecessor. Subscriptions that follow from a response are sent before its acknowledgement.
- A response with bad resources is refused as a whole, yet of clusters and listeners the good ones have been applied,
  and of other types those before the bad one. A refused response ends the waiting for its type.
- What nobody asks for by name any more is ignored, and so is the removal of endpoints, routes and secrets.

Left out: draining; on-demand discovery; time: who uses it calls `time_out` when nothing else happens, which real Envoys
do after 15 seconds (`initial_fetch_timeout`). And it is more honest than
Envoy after a reconnect: what it applied of a refused response it reports as unknown, not as what was there before.
"""

from collections import defaultdict
from collections.abc import Iterable

from core.manager.xds.resource import PUSH_ORDER, ResourceType
from core.manager.xds.testing.things import Thing
from core.manager.xds.testing.wire import Arrival, Say, Wire

_CLUSTER, _ENDPOINTS, _LISTENER, _ROUTES, _SECRET = PUSH_ORDER


class ModelEnvoy:
    """Give responses to `handle`; take requests from `outbox`.

    `active` is what serves, `warming` what will when it is ready. `violations` says what should never have happened.
    While `excused` it may be led astray: nobody can know what a proxy has that reconnected by state of the world.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.outbox: list[bytes] = []
        self.active: dict[ResourceType, dict[str, Thing]] = {type_: {} for type_ in PUSH_ORDER}
        self.warming: dict[ResourceType, dict[str, Thing]] = {_CLUSTER: {}, _LISTENER: {}}
        self.refused_clusters: set[str] = set()
        self.violations: list[str] = []
        self.responses = 0
        self.excused = False
        self._names: dict[ResourceType, set[str]] = defaultdict(set)
        self._nonces: dict[ResourceType, str] = {}
        self._accepted: dict[ResourceType, str] = {}
        self._versions: dict[ResourceType, dict[str, str]] = defaultdict(dict)
        self._fed: set[str] = set()
        self._given_up: dict[ResourceType, set[str]] = defaultdict(set)
        self._unsure: set[tuple[ResourceType, str]] = set()
        self._may_repeat: set[tuple[ResourceType, str]] = set()
        self._withheld: Say | None = None
        self._initialised = False

    # --- connecting ---

    def connect(self, *, excused: bool = False) -> None:
        """Start, or start again after the stream broke. Whatever warmed by then is taken to have timed out.

        `excused`: who serves now does not know what it has, and it cannot say so.
        """
        self.outbox.clear()
        self._nonces.clear()
        self._withheld = None
        self._may_repeat = set(self._unsure)
        self._fed |= set(self.warming[_CLUSTER])
        if not self.wire.is_delta:
            self.excused = excused
            self._versions.clear()
        self._warm()
        for type_ in PUSH_ORDER:
            if type_ is _CLUSTER or self._names[type_] or (type_ is _LISTENER and self._initialised):
                names = sorted(self._names[type_])
                self._ask(type_, more=names, versions=self._known(type_))

    def _known(self, type_: ResourceType) -> dict[str, str]:
        have = {*self.active[type_], *self.warming.get(type_, ())}
        unsure = {name: "unknown" for of, name in self._unsure if of is type_ and name in have}
        return self._versions[type_] | unsure

    def _ask(self, type_: ResourceType, *, more: Iterable[str] = (), less: Iterable[str] = (),
             versions: dict[str, str] | None = None) -> None:  # fmt: skip
        more = tuple(more)
        self._may_repeat |= {(type_, name) for name in more if name not in (versions or {})}
        self._say(Say(type=type_, more=more, less=tuple(less), versions=versions or {}))

    def _say(self, say: Say) -> None:
        type_ = say.type
        full = Say(type=type_, names=sorted(self._names[type_]), more=say.more, less=say.less, versions=say.versions,
                   nonce=say.nonce or self._nonces.get(type_, ""), answers=say.answers, error=say.error,
                   version=self._accepted.get(type_, ""))  # fmt: skip
        self.outbox.append(self.wire.request(full))

    # --- taking responses ---

    def named(self, type_: ResourceType) -> set[str]:
        """What it asks for by name."""
        return set(self._names[type_])

    def time_out(self) -> bool:
        """Stop waiting for what does not come, and start with what there is; whether anything was waited for."""
        waiting = any(self.warming.values())
        for user in (*self.warming[_CLUSTER].values(), *self.warming[_LISTENER].values()):
            self._given_up[_ENDPOINTS].add(user.name)
            self._given_up[_ROUTES] |= set(user.routes)
            self._given_up[_SECRET] |= set(user.secrets)
        self._warm()
        return waiting

    def handle(self, raw: bytes) -> None:
        arrival = self._minus_what_nobody_wants(self.wire.arrival(raw))
        self.responses += 1
        self._nonces[arrival.type] = arrival.nonce
        self._look_for_repetition(arrival)
        error = self._apply(arrival)
        self._remember(arrival, error)
        self._warm()
        self._subscribe_to_what_is_named(arrival)
        self._answer(Say(type=arrival.type, nonce=arrival.nonce, answers=True, error=error))
        self._warm()
        self._check()

    def _minus_what_nobody_wants(self, arrival: Arrival) -> Arrival:
        names = self._names[arrival.type]
        wanted = tuple(pair for pair in arrival.things if arrival.type.has_wildcard or pair[0].name in names)
        return Arrival(arrival.type, arrival.nonce, wanted, arrival.removed, arrival.version)

    def _apply(self, arrival: Arrival) -> str | None:
        bad = [thing.name for thing, _ in arrival.things if thing.bad]
        if arrival.type in self.warming:
            self._apply_to_warming(arrival)
        else:
            for thing, _ in arrival.things:
                if thing.bad:
                    self._given_up[arrival.type] |= self._names[arrival.type]
                    break
                self.active[arrival.type][thing.name] = thing
                self._fed |= {thing.name} if arrival.type is _ENDPOINTS else set()
        if not bad and arrival.type is _ENDPOINTS:
            # "There is none": taken as no endpoints.
            self._fed |= set(arrival.removed or ())
        if bad and arrival.type is _CLUSTER:
            self.refused_clusters |= set(bad)
        return f"cannot take {bad}" if bad else None

    def _apply_to_warming(self, arrival: Arrival) -> None:
        active, warming = self.active[arrival.type], self.warming[arrival.type]
        for thing, _ in arrival.things:
            same = thing == warming.get(thing.name, active.get(thing.name))
            if arrival.type is _CLUSTER and (not same or (_CLUSTER, thing.name) in self._unsure):
                # The Manager cannot know whether we take it, nor whether we took it the first time.
                self._may_repeat.add((_ENDPOINTS, thing.name))
            if thing.bad or same:
                continue
            warming[thing.name] = thing
            if arrival.type is _CLUSTER:
                self._fed.discard(thing.name)
                self._given_up[_ENDPOINTS].discard(thing.name)
        gone = set(arrival.removed) if arrival.removed is not None else {*active, *warming} - arrival.names
        for name in gone:
            active.pop(name, None)
            warming.pop(name, None)

    def _warm(self) -> None:
        """Whatever has what it needs begins to serve."""
        for name, cluster in list(self.warming[_CLUSTER].items()):
            fed = not cluster.eds or name in self._fed or name in self._given_up[_ENDPOINTS]
            if fed and self._have(_SECRET, cluster.secrets):
                self.active[_CLUSTER][name] = self.warming[_CLUSTER].pop(name)
        for name, listener in list(self.warming[_LISTENER].items()):
            if self._have(_ROUTES, listener.routes) and self._have(_SECRET, listener.secrets):
                self.active[_LISTENER][name] = self.warming[_LISTENER].pop(name)
        if not self.warming[_CLUSTER] and self._withheld is not None:
            say, self._withheld = self._withheld, None
            self._say(say)
        if self._nonces.get(_CLUSTER) and not self.warming[_CLUSTER] and not self._initialised:
            self._initialised = True
            self._ask(_LISTENER)

    def _have(self, type_: ResourceType, names: Iterable[str]) -> bool:
        return all(name in self.active[type_] or name in self._given_up[type_] for name in names)

    def _subscribe_to_what_is_named(self, arrival: Arrival) -> None:
        clusters = [*self.active[_CLUSTER].values(), *self.warming[_CLUSTER].values()]
        listeners = [*self.active[_LISTENER].values(), *self.warming[_LISTENER].values()]
        wanted = {
            _ENDPOINTS: {cluster.name for cluster in clusters if cluster.eds},
            _ROUTES: {name for listener in listeners for name in listener.routes},
            _SECRET: {name for user in (*clusters, *listeners) for name in user.secrets},
        }
        for type_, names in wanted.items():
            more, less = names - self._names[type_], self._names[type_] - names
            self._names[type_] = names
            for name in less:
                self.active[type_].pop(name, None)
                self._versions[type_].pop(name, None)
                self._given_up[type_].discard(name)
            if type_ is arrival.type and not self.wire.is_delta:
                # The acknowledgement that follows says so.
                continue
            repeats = type_ is _ENDPOINTS and arrival.type is _CLUSTER and not self.wire.is_delta
            if more or less or (repeats and any(name in self.warming[_CLUSTER] for name in names)):
                self._ask(type_, more=sorted(more), less=sorted(less))

    def _answer(self, say: Say) -> None:
        if say.type is _CLUSTER and self._initialised and self.warming[_CLUSTER]:
            self._withheld = say
        else:
            self._say(say)

    # --- noticing what should not happen ---

    def _remember(self, arrival: Arrival, error: str | None) -> None:
        versions = self._versions[arrival.type]
        if error is None:
            self._accepted[arrival.type] = arrival.version
        for thing, version in arrival.things:
            key = (arrival.type, thing.name)
            if error is None:
                versions[thing.name] = version
                self._may_repeat.discard(key)
                self._unsure.discard(key)
            else:
                self._may_repeat.add(key)
                self._unsure.add(key)
        for name in arrival.removed or ():
            versions.pop(name, None)
        if arrival.removed is None and error is None:
            self._unsure = {(type_, name) for type_, name in self._unsure if type_ is not arrival.type}

    def _look_for_repetition(self, arrival: Arrival) -> None:
        for thing, version in arrival.things if arrival.removed is not None else ():
            same = self._versions[arrival.type].get(thing.name) == version
            if same and (arrival.type, thing.name) not in self._may_repeat:
                self.violations.append(f"{arrival.type.name} {thing.name} came twice as {version}")

    def _check(self) -> None:
        if self.excused:
            return
        for routes in self.active[_ROUTES].values():
            for cluster in routes.clusters:
                if cluster not in self.active[_CLUSTER] and cluster not in self.refused_clusters:
                    self.violations.append(f"routes {routes.name} lead to {cluster}, which does not serve")
