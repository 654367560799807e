"""How far each proxy has come, in the words of Istio's `proxy-status`. From the Manager's answer to text."""

from collections.abc import Iterator, Sequence

from msgspec import to_builtins

from core.manager.status import Delivery, Held, MeshStatus, ProxyStatus, Refusal
from core.model.config import ConfigKey
from istioctl.output import age, table
from istioctl.reach import named

SAME_WAY = "tell both the same (--capture and --interception)"

TYPES = ("CDS", "LDS", "EDS", "RDS")

SYNCED, STALE, NOT_SENT, REFUSED = "SYNCED", "STALE", "NOT SENT", "REFUSED"


def states(proxy: ProxyStatus, held: tuple[Held, ...]) -> dict[str, str]:
    """A state for each type. REFUSED as well where the Manager went back to what was good before."""
    refused = {each.type for each in proxy.refused}
    refused |= {each.refusal.type for each in held if each.workload == proxy.workload}
    deliveries = {each.type: each for each in proxy.deliveries}
    return {name: REFUSED if name in refused else _state(deliveries.get(name)) for name in TYPES}


def _state(delivery: Delivery | None) -> str:
    if delivery is None or not (delivery.sent or delivery.brought):
        return NOT_SENT
    return STALE if delivery.waiting else SYNCED


def overview(status: MeshStatus, *, now: float) -> str:
    """A row for each connected proxy. `now` is seconds since the epoch."""
    several = len(status.managers) > 1
    rows = (
        (
            str(proxy.workload),
            *states(proxy, status.held).values(),
            _version(proxy),
            age(now - proxy.connected_since),
            *((str(proxy.manager),) if several else ()),
        )
        for proxy in status.proxies
    )
    return table(("NAME", *TYPES, "ENVOY", "CONNECTED", *(("MANAGER",) if several else ())), rows)


def not_connected(absent: Sequence[object]) -> str:
    """Of workloads whose proxy no Manager knows of; who is down for good and who only moves cannot be told apart."""
    known = "what they live on is not known; they get the newest when they come"
    return f"{len(absent)} not connected: {named(absent)} ({known})"


def _version(proxy: ProxyStatus) -> str:
    """`1.40.0`; a client that is no Envoy is named."""
    return proxy.user_agent.removeprefix("envoy ") or "-"


def as_value(proxy: ProxyStatus, held: tuple[Held, ...]) -> dict[str, object]:
    """What the Manager says of a proxy, its states, and the documents that it had taken out of force."""
    said: dict[str, object] = to_builtins(proxy)
    own = [to_builtins(each) for each in held if each.workload == proxy.workload]
    return said | {"synced": proxy.synced, "states": states(proxy, held), "held": own}


# -- one proxy in full -------------------------------------------------------------------------------------------------


def details(proxy: ProxyStatus, held: tuple[Held, ...], *, now: float) -> str:
    """Everything known of one proxy, and what is out of force anywhere."""
    facts = ((name, str(value)) for name, value in _facts(proxy, now))
    own = [each for each in held if each.workload == proxy.workload]
    others = [each for each in held if each.workload != proxy.workload]
    blocks = [
        table(("PROXY", str(proxy.workload)), facts),
        _deliveries(proxy, held),
        *_listed("Refused:", [line for each in proxy.refused for line in _refusal(each)]),
        *_listed("Refused, and replaced by what was good before:", [line for each in own for line in _held(each)]),
        *_listed("Out of force, because other proxies refused it:", [line for each in others for line in _held(each)]),
    ]
    return "\n\n".join(blocks)


def _facts(proxy: ProxyStatus, now: float) -> Iterator[tuple[str, str]]:
    yield "node", proxy.node
    yield "envoy", _version(proxy)
    yield "connected", f"for {age(now - proxy.connected_since)}"
    if proxy.misled:
        yield "traffic", f"{proxy.misled}; {SAME_WAY}"


def _deliveries(proxy: ProxyStatus, held: tuple[Held, ...]) -> str:
    """Versions are generations of the Manager's configuration: the same number is the same state everywhere."""
    found = {each.type: each for each in proxy.deliveries}
    rows = []
    for name, state in states(proxy, held).items():
        delivery = found.get(name, Delivery(type=name))
        rows.append((name, state, delivery.sent or "-", delivery.acked or "-"))
    return table(("TYPE", "STATE", "SENT", "ACCEPTED"), rows)


def _listed(title: str, lines: list[str]) -> list[str]:
    return ["\n".join([title, *(f"  {line}" for line in lines)])] if lines else []


def _refusal(refusal: Refusal) -> Iterator[str]:
    origin = refusal.origin
    yield f"{refusal.type} {refusal.resource}"
    yield f"  reason:   {' '.join(refusal.reason.split())}"
    yield f"  document: {origin or 'none, or several: istioctl get all -A -o wide shows findings'}"
    if origin:
        yield f"  look:     {_look(origin.config)}"


def _held(held: Held) -> Iterator[str]:
    refusal = held.refusal
    yield f"{held.document}"
    yield f"  refused:  {refusal.type} {refusal.resource}, by {held.workload}"
    yield f"  reason:   {' '.join(refusal.reason.split())}"
    yield f"  look:     {_look(held.document)}"


def _look(document: ConfigKey) -> str:
    return f"istioctl get {document.kind.lower()} {document.name} -n {document.namespace} -o yaml"
