"""What to capture and what to leave alone: Istio's annotations `traffic.sidecar.istio.io/*`, as a value."""

import ipaddress
from typing import Literal, TypeVar

import msgspec

from core.errors import Misconfigured

ALL: Literal["*"] = "*"
T = TypeVar("T")

PROXY_PORTS = (15008, 15020, 15021, 15090)
"""Answered by the proxy and the agent themselves (HBONE, metrics, readiness, Envoy's statistics): never led away."""

RETURN_MARK = 1338
"""Only with TPROXY: what the proxy sends to its own workload has to come in once more."""


class ByUser(msgspec.Struct, frozen=True, tag="user"):
    """The proxy runs as a user of its own."""

    uid: int = 1337


class ByMark(msgspec.Struct, frozen=True, tag="mark"):
    """The proxy marks its connections (SO_MARK): the only way in a user namespace, where one user is all there is."""

    mark: int = 1337


Owner = ByUser | ByMark
"""How the proxy's own connections are told from the application's."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Ports are TCP ports, ranges are CIDR. What is excluded stays excluded, whatever includes say, as in Istio.

    `include_outbound_ports` are captured wherever they lead. `dns_port` 0: DNS is left alone. `ipv6`: proxies listen on
    IPv4; TCP and DNS over IPv6 that would go round them is refused, or left alone for who knows what they do.
    """

    mode: Literal["redirect", "tproxy"] = "redirect"
    proxy: Owner = ByUser()
    outbound_port: int = 15001
    inbound_port: int = 15006
    dns_port: int = 15053
    tproxy_mark: int = 1337
    include_inbound_ports: tuple[int, ...] | Literal["*"] = ALL
    exclude_inbound_ports: tuple[int, ...] = (22,)
    include_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    include_outbound_ranges: tuple[str, ...] | Literal["*"] = ALL
    exclude_outbound_ranges: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    ipv6: Literal["refuse", "leave"] = "refuse"


def checked(policy: Policy) -> Policy:
    """The policy itself. Raises `Misconfigured` when it cannot be what somebody meant."""
    for port in _ports(policy):
        if not 0 < port < 65536:
            raise Misconfigured(f"{port} is not a port", fix="write numbers from 1 to 65535")
    for text in (*policy.exclude_outbound_ranges, *_listed(policy.include_outbound_ranges)):
        _check_range(text)
    for name in policy.exclude_interfaces:
        if not name.isascii() or not 0 < len(name) < 16 or any(c.isspace() or c in '/"\\;' for c in name):
            raise Misconfigured(f"{name!r} is not the name of a network interface", fix="see `ip link`")
    if policy.mode == "tproxy" and policy.proxy == ByMark(policy.tproxy_mark):
        text = f"the mark {policy.tproxy_mark} cannot stand for the proxy's own connections and for those of TPROXY"
        raise Misconfigured(text, fix="give `proxy` and `tproxy_mark` different numbers")
    return policy


def _ports(policy: Policy) -> tuple[int, ...]:
    listed = _listed(policy.include_inbound_ports)
    chosen = (*policy.exclude_inbound_ports, *policy.include_outbound_ports, *policy.exclude_outbound_ports)
    dns = (policy.dns_port,) if policy.dns_port else ()
    return (policy.outbound_port, policy.inbound_port, *dns, *listed, *chosen)


def _listed(value: tuple[T, ...] | Literal["*"]) -> tuple[T, ...]:
    return () if value == ALL else value


def _check_range(text: str) -> None:
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        raise Misconfigured(f"{text!r} is not a range of IPv4 addresses: {error}", fix="write 10.1.0.0/16") from None
