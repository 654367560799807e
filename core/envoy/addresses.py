"""Addresses of sockets and of listeners without one."""

from envoy.config.core.v3 import address_pb2


def socket(address: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def internal(listener: str) -> address_pb2.Address:
    return address_pb2.Address(
        envoy_internal_address=address_pb2.EnvoyInternalAddress(server_listener_name=listener),
    )
