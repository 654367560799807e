"""What Envoy is told to count: the same for every proxy, bounded, and no more tags than there have to be."""

import pytest
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.stats.v3 import stats_pb2

from core.envoy import telemetry
from core.envoy.filters import peer_metadata
from core.view.security import NO_TLS, MeshServer, Terminate


def config(log: accesslog_pb2.AccessLog) -> stats_pb2.Config:
    return stats_pb2.Config.FromString(log.typed_config.value)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_metrics(direction: telemetry.Direction) -> None:
    """HTTP and TCP are counted under the names that become Istio's."""
    (http,) = map(config, telemetry.http(direction))
    assert [counter.stat.name for counter in http.counters] == ["requests_total"]
    histograms = [histogram.stat.name for histogram in http.histograms]
    assert histograms == ["request_duration_milliseconds", "request_bytes", "response_bytes"]
    opened, closed = map(config, telemetry.tcp(direction))
    names = ["tcp_connections_closed_total", "tcp_sent_bytes_total", "tcp_received_bytes_total"]
    assert [counter.stat.name for counter in opened.counters] == ["tcp_connections_opened_total"]
    assert [counter.stat.name for counter in closed.counters] == names


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_all_metrics_of_a_request_have_the_same_few_tags(direction: telemetry.Direction) -> None:
    """Each tag costs every request four times; none holds anything that a caller chooses freely, the host apart."""
    (http,) = map(config, telemetry.http(direction))
    (tags,) = {
        tuple((tag.name, tag.value_format) for tag in each.stat.tags) for each in (*http.counters, *http.histograms)
    }
    assert len(tags) == 8
    free = [name for name, text in tags if "REQ" in text]
    assert free == (["service"] if direction == "outbound" else [])


def test_nothing_of_one_workload_is_in_it() -> None:
    """The same objects for all: the proxy's own workload comes from its node metadata."""
    assert telemetry.http("inbound") is telemetry.http("inbound")
    (http,) = map(config, telemetry.http("inbound"))
    assert {t.name: t.value_format for t in http.counters[0].stat.tags}["local"] == "%CEL(xds.node.metadata.SELF)%"


def test_limits_are_in_the_bytes() -> None:
    """The generated protos do not know the scope, so it is written by hand; Envoy's parser is asked in tests/envoy."""
    (log,) = telemetry.http("outbound")
    assert b"\x0a\x04\x08\xa0\x9c\x01\x1a\x04\x08\xa0\x9c\x01\x20\x01\x2a\x05istio" in log.typed_config.value


def test_who_may_say_who_calls() -> None:
    """The header is believed on chains with mutual TLS of the mesh only, and taken off on all others."""
    learn = peer_metadata.exchange("inbound", MeshServer())
    ignore = peer_metadata.exchange("inbound", NO_TLS)
    assert learn.typed_config.type_url.endswith("header_to_metadata.v3.Config")
    assert ignore.typed_config.type_url.endswith("header_mutation.v3.HeaderMutation")
    assert peer_metadata.exchange("inbound", Terminate(secret="s")) == ignore
    assert b"xds.node.metadata.PEER" in peer_metadata.exchange("outbound", NO_TLS).typed_config.value
