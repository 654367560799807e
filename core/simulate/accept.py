"""Which filter chain of a listener takes a connection, and whether the chain's demands are met."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import msgspec

from core.simulate.call import Call, Shown
from core.view.listener import PLAIN_HTTP, FilterChain, Transport
from core.view.security import MeshServer, NoTls

T = TypeVar("T", bound=Hashable)


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener sees of a connection before anything is served.

    `port` is the one it was meant for. `protocols`: what is offered by ALPN, or what plain first bytes look like.
    """

    port: int = 0
    transport: Transport = "plain"
    server_name: str = ""
    protocols: tuple[str, ...] = ()
    shown: Shown = "nobody"


def plain(*, http: bool, port: int = 0) -> Connection:
    """Without TLS; HTTP of either version is told by its first bytes."""
    return Connection(port=port, protocols=PLAIN_HTTP if http else ())


def as_proxies_do(call: Call, shown: Shown) -> Connection:
    """Mutual TLS as a proxy of the mesh speaks it: ALPN tells what is inside."""
    return Connection(port=call.port, transport="tls", protocols=OFFERED[call.protocol], shown=shown)


OFFERED = {
    "http": ("istio-http/1.1", "istio"),
    "grpc": ("istio-h2", "istio", "h2"),
    "tcp": ("istio-peer-exchange", "istio"),
}
"""By what is inside."""


def chain_for(chains: Sequence[FilterChain], connection: Connection) -> FilterChain | None:
    """The one that takes the connection.

    Port, server name, transport and protocols narrow the choice in this order; there is no way back from a more
    specific match that then fails (Envoy `FilterChainMatch`).
    """
    left = _narrowed(chains, lambda c: (c.match.port,), (connection.port,), none=0)
    left = _narrowed(left, lambda c: c.match.server_names or ("",), _patterns(connection.server_name), none="")
    left = _narrowed(left, lambda c: (c.match.transport,), (connection.transport,), none="any")
    left = _narrowed(left, lambda c: c.match.protocols or ("",), connection.protocols, none="")
    return left[0] if left else None


def _narrowed(
    chains: Sequence[FilterChain], offers: Callable[[FilterChain], Iterable[T]], wanted: Iterable[T], *, none: T
) -> list[FilterChain]:
    """Those with the first of `wanted` that any chain names; else those that name nothing."""
    for value in (*wanted, none):
        if found := [chain for chain in chains if value in offers(chain)]:
            return found
    return []


def _patterns(name: str) -> tuple[str, ...]:
    labels = name.split(".") if name else []
    return (name, *("*." + ".".join(labels[i:]) for i in range(1, len(labels)))) if name else ()


def admits(chain: FilterChain, connection: Connection) -> bool:
    """Whether a handshake with this chain succeeds. TLS that is not ended here is not looked into."""
    match chain.security:
        case NoTls():
            return True
        case MeshServer():
            return connection.transport == "tls" and connection.shown == "mesh"
        case _:
            return connection.transport == "tls" and (not chain.security.roots or connection.shown == "mesh")
