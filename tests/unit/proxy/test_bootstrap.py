"""What a sidecar's Envoy is told before it hears of the Manager. That Envoy accepts it is tested in tests/envoy."""

import json
import re
from typing import Any

import pytest

from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.service import Locality, WorkloadKey
from core.model.workload import Explicit, Redirected, Workload
from proxy.bootstrap import Transport, bootstrap, encode

REVIEWS = Workload(
    key=WorkloadKey("shop", "reviews-v1-0"),
    address="127.1.0.7",
    service_account="reviewer",
    labels=Labels.of({"app": "reviews", "service.istio.io/workload-name": "reviews-v1"}),
    locality=Locality("eu", "eu-1", "rack"),
    capture=Explicit(),
)


def made(workload: Workload = REVIEWS, *, mesh: Mesh = Mesh(), transport: Transport = Transport.DELTA) -> Any:  # noqa: B008
    config = bootstrap(workload, mesh=mesh, xds=("/x/xds.sock",), admin_socket="/x/admin.sock", transport=transport)
    return json.loads(encode(config))


def test_node_is_as_in_istio() -> None:
    """Node id, cluster, locality and metadata have the form that Istio's tools read."""
    node = made()["node"]
    assert node["id"] == "sidecar~127.1.0.7~reviews-v1-0.shop~shop.svc.cluster.local"
    assert node["cluster"] == "reviews.shop"
    assert node["locality"] == {"region": "eu", "zone": "eu-1", "sub_zone": "rack"}
    assert node["metadata"]["LABELS"]["app"] == "reviews"
    assert node["metadata"]["NAMESPACE"] == "shop"
    assert node["metadata"]["SERVICE_ACCOUNT"] == "reviewer"
    assert node["metadata"]["WORKLOAD_NAME"] == "reviews-v1"


def test_names_are_not_waited_for_long() -> None:
    """A server that keeps silent is given up in seconds; in a pod it is not the one that leads back to the proxy."""
    host = made()["typed_dns_resolver_config"]["typed_config"]
    assert (host["query_timeout_seconds"], host["query_tries"], host.get("resolvers")) == (1, 2, None)
    capture = Redirected(resolver="198.19.255.254:5353")
    pod = made(Workload(key=REVIEWS.key, address="198.18.0.7", capture=capture))["typed_dns_resolver_config"]
    place = {"address": "198.19.255.254", "port_value": 5353}
    assert pod["typed_config"] == {**host, "resolvers": [{"socket_address": place}]}


def test_workload_without_labels_is_known_by_its_name() -> None:
    """Without `app` and workload-name labels the workload's own name stands in."""
    node = made(Workload(key=WorkloadKey("shop", "job"), address="127.1.0.8", capture=Explicit()))["node"]
    assert (node["cluster"], node["metadata"]["WORKLOAD_NAME"]) == ("job.shop", "job")


def test_domain_suffix_is_the_meshs() -> None:
    """A mesh with a domain of its own is seen in the node id and in the tag of cluster statistics."""
    config = made(mesh=Mesh(domain_suffix="corp.example"))
    assert config["node"]["id"].endswith("~shop.svc.corp.example")
    assert r"\.svc\.corp\.example" in config["stats_config"]["stats_tags"][0]["regex"]


@pytest.mark.parametrize(
    ("transport", "api_type"), [(Transport.DELTA, "DELTA_GRPC"), (Transport.STATE_OF_THE_WORLD, "GRPC")]
)
def test_ads_over_the_workloads_socket(transport: Transport, api_type: str) -> None:
    """Both transports: one aggregated stream over the unix socket, node sent once, bounded and jittered reconnects."""
    config = made(transport=transport)
    ads = config["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == api_type
    assert ads["set_node_on_first_message_only"]
    (service,) = ads["grpc_services"]
    assert service["envoy_grpc"]["retry_policy"]["retry_back_off"] == {"base_interval": "0.2s", "max_interval": "2s"}
    (cluster,) = config["static_resources"]["clusters"]
    assert cluster["name"] == service["envoy_grpc"]["cluster_name"] == "xds-grpc"
    assert '"path": "/x/xds.sock"' in json.dumps(cluster)
    assert "connection_keepalive" in json.dumps(cluster)


def test_not_ready_before_the_manager_answered() -> None:
    """CDS and LDS come over ADS and are waited for without limit."""
    dynamic = made()["dynamic_resources"]
    for source in (dynamic["cds_config"], dynamic["lds_config"]):
        assert source == {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def test_admin_is_private() -> None:
    """The admin interface is a unix socket that only this user can open."""
    assert made()["admin"]["address"] == {"pipe": {"path": "/x/admin.sock", "mode": 0o600}}


CLUSTER = "cluster.outbound|9080||reviews.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("listener_manager.workers_started", True),
        ("cluster_manager.cds.update_success", True),
        ("server.total_connections", True),
        ("cluster.xds-grpc.upstream_cx_connect_fail", True),
        (f"{CLUSTER}.upstream_rq_total", True),
        (f"{CLUSTER}.membership_healthy", True),
        ("listener.127.1.0.7_9080.downstream_cx_active", True),
        ("http.inbound.rbac.denied", True),
        (f"{CLUSTER}.upstream_cx_http2_total", False),
        ("http.inbound.downstream_rq_time", False),
    ],
)
def test_statistics_that_are_kept(name: str, kept: bool) -> None:
    """What tools read is kept; the rest, which costs each proxy memory per cluster, is not."""
    patterns = made()["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
    assert kept == any(name.startswith(p.get("prefix", "\0")) or name.endswith(p.get("suffix", "\0")) for p in patterns)


def test_cluster_tag_holds_the_whole_name() -> None:
    """The tag of a cluster's statistics is the cluster's whole name, dots of the host included."""
    regex = made()["stats_config"]["stats_tags"][0]["regex"]
    match = re.search(regex, f"{CLUSTER}.upstream_rq_total")
    assert match is not None
    assert match[2] == CLUSTER.removeprefix("cluster.")


def test_metrics_know_the_workload() -> None:
    """Canonical service and revision are worked out once, here; replicas have one name; idle series are forgotten."""
    config = made()
    metadata = config["node"]["metadata"]
    assert metadata["PEER"] == "reviews-v1;shop;reviews;latest;default;reviews;"
    assert metadata["SELF"] == f"spiffe://cluster.local/ns/shop/sa/reviewer|{metadata['PEER']}"
    assert config["stats_eviction_interval"] == "1800s"
    assert {"prefix": "istio"} in config["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
