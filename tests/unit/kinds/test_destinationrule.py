"""What a DestinationRule means, field by field."""

from collections.abc import Callable

import pytest

from core.ir.lowered import Lowered
from core.ir.security import ClientTls, MeshTls, PlainBytes, ServerTls
from core.ir.traffic import (
    UNLIMITED,
    Balance,
    ConnectionPool,
    ConsistentHash,
    DestinationPolicy,
    HashCookie,
    HashHeader,
    HashQuery,
    HashSourceIp,
    KeepAlive,
    Outlier,
    PortPolicy,
    Subset,
    TrafficPolicy,
)
from core.ir.values import INHERIT
from core.model.config import ConfigKey, Origin
from core.model.identity import SpiffeId
from core.model.labels import Labels

Policy = Callable[[object], TrafficPolicy]
Lower = Callable[[object], DestinationPolicy]


@pytest.fixture
def lower(lower_spec: Callable[[str, object], Lowered]) -> Lower:
    def one(spec: object) -> DestinationPolicy:
        (only,) = lower_spec("dr", spec).rules
        assert isinstance(only, DestinationPolicy)
        return only

    return one


@pytest.fixture
def policy(lower: Lower) -> Policy:
    return lambda spec: lower({"host": "a", "trafficPolicy": spec}).policy


def test_subsets(lower: Lower) -> None:
    """Subsets have labels and may have a policy of their own; what they leave out is inherited."""
    origin = Origin(ConfigKey("networking.istio.io", "DestinationRule", "shop", "sample"), "spec")
    spec = {
        "host": "a",
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}},
            {"name": "v2", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
        ],
        "exportTo": ["."],
    }
    assert lower(spec) == DestinationPolicy(
        host="a.shop.svc.cluster.local",
        subsets=(
            Subset(name="v1", labels=Labels.of({"version": "v1"}), origin=origin.at("subsets").at(0)),
            Subset(name="v2", policy=TrafficPolicy(load_balancer=Balance("RANDOM")), origin=origin.at("subsets").at(1)),
        ),
        visible_to=("shop",),
        created=7.0,
        origin=origin,
    )


@pytest.mark.parametrize("host", ["*", "*.example.com", "api.example.com"])
def test_hosts_may_be_wildcards(lower: Lower, host: str) -> None:
    """A policy may be for many hosts."""
    assert lower({"host": host}).host == host


def test_blocks_that_are_absent_are_inherited(policy: Policy) -> None:
    """A block that is there replaces the inherited one as a whole, with defaults for what it leaves out."""
    assert policy({"outlierDetection": {}}) == TrafficPolicy(outlier=Outlier())
    assert policy({"tls": {"mode": "DISABLE"}}) == TrafficPolicy(tls=PlainBytes())
    assert policy({"loadBalancer": {}}).load_balancer == Balance("LEAST_REQUEST")


@pytest.mark.parametrize(
    ("simple", "meant"),
    [
        ("UNSPECIFIED", "LEAST_REQUEST"),
        ("LEAST_CONN", "LEAST_REQUEST"),
        ("LEAST_REQUEST", "LEAST_REQUEST"),
        ("ROUND_ROBIN", "ROUND_ROBIN"),
        ("RANDOM", "RANDOM"),
        ("PASSTHROUGH", "PASSTHROUGH"),
    ],
)
def test_simple_load_balancers(policy: Policy, simple: str, meant: str) -> None:
    """The old name of least request still means it."""
    assert policy({"loadBalancer": {"simple": simple}}).load_balancer == Balance(meant)  # type: ignore[arg-type]


def test_consistent_hashing(policy: Policy) -> None:
    """Each key, both algorithms, and their sizes."""

    def hashed(**spec: object) -> object:
        return policy({"loadBalancer": {"consistentHash": spec}}).load_balancer

    assert hashed(httpHeaderName="X-User") == ConsistentHash(key=HashHeader("x-user"))
    assert hashed(useSourceIp=True, ringHash={"minimumRingSize": 5}) == ConsistentHash(key=HashSourceIp(), size=5)
    assert hashed(useSourceIp=True, ringHash={}) == ConsistentHash(key=HashSourceIp(), size=1024)
    assert hashed(httpQueryParameterName="q", maglev={"tableSize": 7}) == ConsistentHash(
        key=HashQuery("q"), algorithm="MAGLEV", size=7
    )
    assert hashed(useSourceIp=True, maglev={}) == ConsistentHash(key=HashSourceIp(), algorithm="MAGLEV", size=65537)
    assert hashed(httpCookie={"name": "c"}) == ConsistentHash(key=HashCookie("c", "", None))
    assert hashed(httpCookie={"name": "c", "path": "/", "ttl": "0s"}) == ConsistentHash(key=HashCookie("c", "/", 0))
    assert hashed(httpCookie={"name": "c", "ttl": "1m"}) == ConsistentHash(key=HashCookie("c", "", 60_000))


def test_connection_pools(policy: Policy) -> None:
    """Counts and durations arrive; 0 and absent are the default, which is no limit."""
    tcp = {
        "maxConnections": 3,
        "connectTimeout": "1s",
        "maxConnectionDuration": "2s",
        "tcpKeepalive": {"probes": 4, "time": "5s", "interval": "1m"},
    }
    http = {
        "http1MaxPendingRequests": 6,
        "http2MaxRequests": 7,
        "maxRequestsPerConnection": 8,
        "maxRetries": 9,
        "maxConcurrentStreams": 10,
        "idleTimeout": "11s",
        "h2UpgradePolicy": "UPGRADE",
    }
    assert policy({"connectionPool": {"tcp": tcp, "http": http}}).connection_pool == ConnectionPool(
        max_connections=3,
        connect_timeout=1000,
        max_connection_duration=2000,
        keep_alive=KeepAlive(4, 5, 60),
        max_pending_requests=6,
        max_requests=7,
        max_requests_per_connection=8,
        max_retries=9,
        max_concurrent_streams=10,
        http_idle_timeout=11_000,
        http2="UPGRADE",
    )
    none = {"tcp": {"maxConnections": 0}, "http": {"maxRetries": 0}}
    assert policy({"connectionPool": none}).connection_pool == ConnectionPool(max_retries=UNLIMITED)
    follow = policy({"connectionPool": {"http": {"useClientProtocol": True}}}).connection_pool
    assert follow == ConnectionPool(http2="FOLLOW_CLIENT")


def test_outlier_detection(policy: Policy) -> None:
    """0 turns a criterion off; a percentage of 0 to eject is the default of 10, as in Istio."""
    spec = {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": 2,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 3,
        "interval": "4s",
        "baseEjectionTime": "5s",
        "maxEjectionPercent": 100,
        "minHealthPercent": 6,
    }
    assert policy({"outlierDetection": spec}).outlier == Outlier(
        consecutive_5xx=0,
        consecutive_gateway_errors=2,
        split_local_errors=True,
        consecutive_local_failures=3,
        interval=4000,
        base_ejection_time=5000,
        max_ejection_percent=100,
        min_health_percent=6,
    )
    assert policy({"outlierDetection": {"maxEjectionPercent": 0}}).outlier == Outlier(max_ejection_percent=10)


def test_ports(lower: Lower) -> None:
    """Settings of a port are a policy of their own: absent blocks are not filled in here."""
    spec = {"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]}
    wanted = (PortPolicy(80, TrafficPolicy(load_balancer=Balance("RANDOM"), connection_pool=INHERIT, outlier=INHERIT)),)
    lowered = lower({"host": "a", "trafficPolicy": spec, "subsets": [{"name": "v1", "trafficPolicy": spec}]})
    assert lowered.ports == wanted
    assert lowered.subsets[0].ports == wanted


SPIFFE = "spiffe://cluster.local/ns/a/sa/b"


@pytest.mark.parametrize(
    ("tls", "meant"),
    [
        ({}, PlainBytes()),
        ({"mode": "ISTIO_MUTUAL"}, MeshTls()),
        (
            {"mode": "ISTIO_MUTUAL", "sni": "x.com", "subjectAltNames": [SPIFFE, SPIFFE]},
            MeshTls(sni="x.com", identities=(SpiffeId.parse(SPIFFE),)),
        ),
        ({"mode": "SIMPLE"}, ServerTls()),
        ({"mode": "SIMPLE", "insecureSkipVerify": True}, ServerTls(verify=False)),
        (
            {"mode": "SIMPLE", "sni": "x.com", "caCertificates": "/r", "subjectAltNames": ["y.com"]},
            ServerTls(sni="x.com", roots="/r", names=("y.com",)),
        ),
        (
            {"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k"},
            ServerTls(certificate="/c", key="/k"),
        ),
    ],
)
def test_tls_modes(policy: Policy, tls: dict[str, object], meant: ClientTls) -> None:
    """What a server is shown and has to show."""
    assert policy({"tls": tls}) == TrafficPolicy(tls=meant)
