"""Envoy's text becomes Istio's: names and labels exactly, everything else untouched, and quickly."""

import time

from hypothesis import given
from hypothesis import strategies as st

from proxy.metrics import istio_names, merged

TAGS = (
    'reporter="source",peer="web-v1;shop;web;v1;default",principal="spiffe://cluster.local/ns/shop/sa/seller",'
    'local="spiffe://cluster.local/ns/home/sa/sleeper|sleep;home;bed;r7;default;;",response_flags="-",code="200",'
    'grpc="",service="web.shop.svc.cluster.local;web;shop"'
)
LABELS = (
    'reporter="source",source_workload="sleep",source_workload_namespace="home",'
    'source_principal="spiffe://cluster.local/ns/home/sa/sleeper",source_app="unknown",source_version="unknown",'
    'source_cluster="default",source_canonical_service="bed",source_canonical_revision="r7",'
    'destination_workload="web-v1",destination_workload_namespace="shop",'
    'destination_principal="spiffe://cluster.local/ns/shop/sa/seller",destination_app="web",destination_version="v1",'
    'destination_cluster="default",destination_canonical_service="web",destination_canonical_revision="v1",'
    'destination_service="web.shop.svc.cluster.local",destination_service_name="web",'
    'destination_service_namespace="shop",request_protocol="http",response_code="200",grpc_response_status="",'
    'response_flags="-",connection_security_policy="unknown"'
)
ENVOY = f"""\
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{{cluster_name="xds-grpc"}} 1
# TYPE envoy_istio_requests_total counter
envoy_istio_requests_total{{{TAGS}}} 7
# TYPE envoy_istio_request_bytes histogram
envoy_istio_request_bytes_bucket{{{TAGS},le="0.5"}} 0
envoy_istio_request_bytes_bucket{{{TAGS},le="+Inf"}} 7
envoy_istio_request_bytes_sum{{{TAGS}}} 70
envoy_istio_request_bytes_count{{{TAGS}}} 7
"""
ISTIO = f"""\
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{{cluster_name="xds-grpc"}} 1
# TYPE istio_requests_total counter
istio_requests_total{{{LABELS}}} 7
# TYPE istio_request_bytes histogram
istio_request_bytes_bucket{{{LABELS},le="0.5"}} 0
istio_request_bytes_bucket{{{LABELS},le="+Inf"}} 7
istio_request_bytes_sum{{{LABELS}}} 70
istio_request_bytes_count{{{LABELS}}} 7
"""


def label(text: str, name: str) -> str:
    return text.partition(f'{name}="')[2].partition('"')[0]


def test_names_and_labels_are_istios() -> None:
    """Counters, histograms and their types have Istio's names and all of its labels; other lines stay."""
    assert istio_names(ENVOY) == ISTIO


@given(st.text())
def test_other_text_stays(text: str) -> None:
    """What has nothing of ours in it comes out as it went in."""
    assert istio_names(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_strange_tags_keep_the_line_whole(peer: str) -> None:
    """Whatever a peer calls itself, a line stays one line with the same value and labels that can be read."""
    escaped = peer.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    line = f'envoy_istio_requests_total{{reporter="source",peer="{escaped}",service="a;b;c"}} 3'
    renamed = istio_names(line)
    assert renamed.startswith('istio_requests_total{reporter="source",')
    assert renamed.endswith("} 3")
    assert 'destination_service="a",destination_service_name="b"' in renamed


def test_claims_without_certificate_are_not_believed() -> None:
    """At the destination, who shows no certificate is unknown and nobody's principal is told."""
    line = istio_names('envoy_istio_requests_total{reporter="destination",peer="x;y;z;v;c",local="spiffe://a/b|w;n"} 1')
    assert (label(line, "source_workload"), label(line, "source_principal")) == ("unknown", "unknown")
    assert label(line, "destination_principal") == "unknown"
    assert (label(line, "destination_workload"), label(line, "connection_security_policy")) == ("w", "none")


def test_the_certificate_tells_the_namespace() -> None:
    """A caller that names no workload (TCP) is known by its certificate."""
    tags = 'reporter="destination",principal="spiffe://cluster.local/ns/home/sa/x",local="spiffe://a/b|w;n"'
    line = istio_names(f"envoy_istio_tcp_sent_bytes_total{{{tags}}} 1")
    assert (label(line, "source_workload_namespace"), label(line, "source_workload")) == ("home", "unknown")
    assert label(line, "connection_security_policy") == "mutual_tls"
    assert label(line, "request_protocol") == "tcp"
    assert "response_code" not in line


def test_a_megabyte_is_renamed_quickly() -> None:
    """A scrape of 1 MB takes a fraction of a second of one processor, whose work is traffic."""
    bucket = 'envoy_istio_request_bytes_bucket{%s,le="%s"} 1'
    tags = [TAGS.replace('code="200"', f'code="{number}"') for number in range(160)]
    text = "\n".join(bucket % (each, bound) for each in tags for bound in range(21))
    assert len(text) > 1_000_000
    start = time.process_time()
    istio_names(text)
    assert time.process_time() - start < 0.5


def test_merged_keeps_one_type_per_metric() -> None:
    """The application's metrics follow; a type or help text that was said is not said again."""
    help = "# HELP envoy_cluster_upstream_rq_total mine\n"
    app = f"{help}# TYPE envoy_cluster_upstream_rq_total counter\nx 1\n# TYPE y gauge\ny 2\n"
    text = merged(ENVOY, app)
    assert text.startswith(ENVOY)
    assert text.count("# TYPE envoy_cluster_upstream_rq_total ") == 1
    assert text.endswith("# HELP envoy_cluster_upstream_rq_total mine\nx 1\n# TYPE y gauge\ny 2\n")
    assert merged("", app) == app
    assert merged(ENVOY, "") == ENVOY
