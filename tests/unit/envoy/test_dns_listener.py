"""The DNS listener, composed of bytes, is what protobuf would have made."""

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.data.dns.v3 import dns_table_pb2
from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2
from google.protobuf.any_pb2 import Any

from core.envoy.dns_listener import encode, encode_record
from core.envoy.names import LISTENER
from core.view.dns import NameRecord
from core.view.listener import Socket

RECORDS = (
    NameRecord(("web.default.svc.cluster.local", "web"), ("240.240.0.1", "2001:db8::7")),
    NameRecord(("*.wild.example",), ("240.240.0.2",)),
)


def parsed(records: tuple[NameRecord, ...]) -> listener_pb2.Listener:
    body = encode("dns", Socket("127.0.0.1", 15053), [encode_record(each) for each in records]).join()
    envelope = Any.FromString(body)
    assert envelope.type_url == LISTENER
    return listener_pb2.Listener.FromString(envelope.value)


@pytest.mark.parametrize("count", [0, 1, 2, 300], ids=str)
def test_every_record_is_in_the_table(count: int) -> None:
    """A virtual domain for each name, with all addresses; lengths are right however long the table is."""
    records = (RECORDS * count)[:count]
    listener = parsed(records)
    config = dns_filter_pb2.DnsFilterConfig()
    (only,) = listener.listener_filters
    assert only.typed_config.Unpack(config)
    domains = config.server_config.inline_dns_table.virtual_domains
    assert [(each.name, tuple(each.endpoint.address_list.address)) for each in domains] == [
        (name, record.addresses) for record in records for name in record.names
    ]
    assert all(each.answer_ttl.seconds == 30 for each in domains)
    assert config.client_config.max_pending_lookups


def test_it_listens_to_datagrams_at_the_given_place() -> None:
    """UDP, on the address and port that capture leads queries to."""
    listener = parsed(RECORDS)
    socket = listener.address.socket_address
    assert (listener.name, socket.address, socket.port_value) == ("dns", "127.0.0.1", 15053)
    assert socket.Protocol.Name(socket.protocol) == "UDP"


def test_a_table_without_records_is_a_table() -> None:
    """Nothing to answer is a server that forwards everything, not a filter without a server."""
    config = dns_filter_pb2.DnsFilterConfig.FromString(parsed(()).listener_filters[0].typed_config.value)
    assert config.server_config.inline_dns_table == dns_table_pb2.DnsTable()
    assert config.server_config.HasField("inline_dns_table")
