"""The DNS server of a proxy: a UDP listener with a table, composed of ready-made records.

What is not in the table goes to a resolver that is given, or to those of the machine (its `/etc/resolv.conf`).
"""

import functools
from collections.abc import Sequence

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.data.dns.v3 import dns_table_pb2
from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2 as cares_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration

from core.envoy import wire
from core.envoy.any import head, serialised
from core.envoy.names import LISTENER, TYPE_PREFIX
from core.envoy.wire import Rope
from core.view.dns import NameRecord
from core.view.listener import Socket

_Config = dns_filter_pb2.DnsFilterConfig
_Server = _Config.ServerContextConfig
_Domain = dns_table_pb2.DnsTable.DnsVirtualDomain
_Listener = listener_pb2.Listener
_Filter = listener_components_pb2.ListenerFilter

TTL = Duration(seconds=30)
"""The shortest that Envoy allows."""

MOST_PENDING = 256
"""Queries forwarded at a time; more are refused at once. It also bounds what a resolver that leads back here costs."""


def encode_record(record: NameRecord) -> bytes:
    """The `virtual_domains` fields of a table: one for each name."""
    endpoint = dns_table_pb2.DnsTable.DnsEndpoint(
        address_list=dns_table_pb2.DnsTable.AddressList(address=record.addresses)
    )
    rest = serialised(_Domain(endpoint=endpoint, answer_ttl=TTL))
    bodies = (wire.text(_Domain.NAME_FIELD_NUMBER, name) + rest for name in record.names)
    return b"".join(wire.field(dns_table_pb2.DnsTable.VIRTUAL_DOMAINS_FIELD_NUMBER, body) for body in bodies)


def encode(name: str, place: Socket, records: Sequence[bytes | Rope], *, resolver: str = "") -> Rope:
    """An `Any` of `envoy.config.listener.v3.Listener`, of records as `encode_record` makes them.

    `resolver` is whom to ask for other names, as `address:port`; "": the resolvers of the machine.
    """
    table = _field(_Server.INLINE_DNS_TABLE_FIELD_NUMBER, *records)
    config = Rope(_settings(resolver), _field(_Config.SERVER_CONFIG_FIELD_NUMBER, table))
    typed = Rope(wire.text(Any.TYPE_URL_FIELD_NUMBER, _TYPE), _field(Any.VALUE_FIELD_NUMBER, config))
    each = Rope(_FILTER, _field(_Filter.TYPED_CONFIG_FIELD_NUMBER, typed))
    listener = Rope(_bound(name, place), _field(_Listener.LISTENER_FILTERS_FIELD_NUMBER, each))
    return Rope(head(LISTENER, listener.size), listener)


def _field(number: int, *parts: bytes | Rope) -> Rope:
    return Rope(wire.header(number, sum(map(wire.size, parts))), *parts)


def _bound(name: str, place: Socket) -> bytes:
    socket = address_pb2.SocketAddress(protocol="UDP", address=place.address, port_value=place.port)
    address = address_pb2.Address(socket_address=socket)
    return serialised(_Listener(name=name, address=address, traffic_direction=base_pb2.OUTBOUND))


_TYPE = TYPE_PREFIX + _Config.DESCRIPTOR.full_name
_FILTER = wire.text(_Filter.NAME_FIELD_NUMBER, "envoy.filters.udp.dns_filter")


@functools.cache
def _settings(resolver: str) -> bytes:
    client = _Config.ClientContextConfig(resolver_timeout=Duration(seconds=2), max_pending_lookups=MOST_PENDING)
    if resolver:
        address, _, port = resolver.rpartition(":")
        where = address_pb2.SocketAddress(address=address, port_value=int(port))
        cares = cares_pb2.CaresDnsResolverConfig(resolvers=[address_pb2.Address(socket_address=where)])
        client.typed_dns_resolver_config.name = "envoy.network.dns_resolver.cares"
        client.typed_dns_resolver_config.typed_config.Pack(cares)
    return serialised(_Config(stat_prefix="dns", client_config=client))
