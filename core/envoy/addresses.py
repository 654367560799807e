"""Addresses of sockets and of listeners without one."""

import socket as sockets

from envoy.config.core.v3 import address_pb2, socket_option_pb2


def socket(address: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def internal(listener: str) -> address_pb2.Address:
    return address_pb2.Address(
        envoy_internal_address=address_pb2.EnvoyInternalAddress(server_listener_name=listener),
    )


_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT, which Python's `socket` does not name."""

PORT_AT_BIND = socket_option_pb2.SocketOption(
    level=sockets.IPPROTO_IP,
    name=_BIND_ADDRESS_NO_PORT,
    int_value=0,
    state=socket_option_pb2.SocketOption.STATE_PREBIND,
)
"""The kernel chooses the port of a connection when it is bound, not when it connects (what Envoy asks for by itself).
Linux gives odd ports at the one, and even ones at the other, as long as there are any."""


def mark(value: int) -> socket_option_pb2.SocketOption:
    """SO_MARK, by which rules of capture know a connection."""
    state = socket_option_pb2.SocketOption.STATE_PREBIND
    return socket_option_pb2.SocketOption(level=sockets.SOL_SOCKET, name=sockets.SO_MARK, int_value=value, state=state)
