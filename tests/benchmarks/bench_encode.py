"""What encoding costs, against building the same messages with bare protobuf code.

Prints a table; run it with `python tests/benchmarks/bench_encode.py [services]`. Judges nothing: machines differ.
The bare code below makes the very same bytes (this is checked), with nested constructors and constants kept ready.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.wrappers_pb2 import UInt32Value

from core.envoy import ads, clusters, endpoints, listeners, protocols, routes
from core.envoy.any import packed, serialised, typed
from core.ir.traffic import UNLIMITED, ConnectionPool
from core.ir.values import DEFAULT_RETRY
from core.model.service import Locality
from core.view.listener import HTTP_BYTES, FilterChain, HttpChain, Listener, NamedRoutes, Socket, TcpChain
from core.view.route import ForwardTo, Route, RouteConfiguration, Tunnel, VirtualHost, WeightedUpstream
from core.view.security import NO_TLS
from core.view.upstream import Discovered, Endpoint, LoadAssignment, LocalityEndpoints, ServiceRef, Upstream

PLACE = Locality("r1", "z1")
WORDS = ("cart", "reviews", "checkout", "ad", "currency-converter", "frontend", "payment", "mail", "recommendation")


def short_name(number: int) -> str:
    """Names of many lengths, as people give them."""
    return f"{WORDS[number % len(WORDS)]}-{number}"


def host_name(number: int) -> str:
    return f"{short_name(number)}.{namespace(number)}.svc.cluster.local"


def namespace(number: int) -> str:
    return ("default", "shop", "payments-prod")[number % 3]


def upstream(number: int) -> Upstream:
    host = host_name(number)
    service = ServiceRef(host, short_name(number), namespace(number))
    return Upstream(name=f"outbound|80||{host}", endpoints=Discovered(), http="http1", service=service, port=80)


def assignment(number: int) -> LoadAssignment:
    found = tuple(
        Endpoint(f"10.{number >> 8}.{number & 255}.{k + 1}", 8080, workload=f"{short_name(number)}-{k}.ns")
        for k in range(10)
    )
    return LoadAssignment(f"outbound|80||{host_name(number)}", (LocalityEndpoints(PLACE, found, weight=10),))


def virtual_host(number: int) -> VirtualHost:
    host = host_name(number)
    action = ForwardTo(upstreams=(WeightedUpstream(f"outbound|80||{host}"),), retry=DEFAULT_RETRY)
    domains = (
        host,
        short_name(number),
        f"{short_name(number)}.{namespace(number)}",
        f"240.0.{number >> 8}.{number & 255}",
    )
    return VirtualHost(f"{host}:80", domains, (Route(name="default", action=action, operation=f"{host}:80/*"),))


def listener(number: int) -> Listener:
    host, address = host_name(number), f"127.65.{number >> 8}.{number & 255}"
    http = HttpChain(stat_prefix=f"outbound_{host}:80", routes=NamedRoutes(f"{host}:80"), any_host=True)
    tcp = TcpChain(stat_prefix=f"outbound|80||{host}", upstreams=(WeightedUpstream(f"outbound|80||{host}"),))
    chains = (FilterChain(match=HTTP_BYTES, serve=http), FilterChain(serve=tcp))
    return Listener(name=f"{address}_80", bind=Socket(address, 80), direction="outbound", chains=chains)


# -- the same with bare protobuf code ----------------------------------------------------------------------------------

HTTP1 = protocols.http_options("http1", ConnectionPool(), NO_TLS)
PREVIOUS_HOSTS = typed(previous_hosts_pb2.PreviousHostsPredicate())


def bare_cluster(value: Upstream) -> bytes:
    service = value.service
    assert service is not None
    limit = UInt32Value(value=UNLIMITED)
    fields = {
        "host": Value(string_value=service.host),
        "name": Value(string_value=service.name),
        "namespace": Value(string_value=service.namespace),
    }
    services = Value(list_value=ListValue(values=[Value(struct_value=Struct(fields=fields))]))
    istio = Struct(
        fields={
            "services": services,
            "service": Value(string_value=f"{service.host};{service.name};{service.namespace}"),
            "default_original_port": Value(number_value=value.port),
        }
    )
    return packed(
        cluster_pb2.Cluster(
            name=value.name,
            type=cluster_pb2.Cluster.EDS,
            eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads.SOURCE),
            connect_timeout=Duration(seconds=10),
            lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
            circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
                thresholds=[
                    circuit_breaker_pb2.CircuitBreakers.Thresholds(
                        max_connections=limit,
                        max_pending_requests=limit,
                        max_requests=limit,
                        max_retries=limit,
                        track_remaining=True,
                    )
                ]
            ),
            typed_extension_protocol_options=HTTP1,
            metadata=base_pb2.Metadata(filter_metadata={"istio": istio}),
        )
    )


def bare_endpoint(value: Endpoint) -> endpoint_components_pb2.LbEndpoint:
    socket = address_pb2.SocketAddress(address=value.address, port_value=value.port)
    workload = Struct(fields={"workload": Value(string_value=value.workload)})
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address_pb2.Address(socket_address=socket)),
        health_status=1,
        load_balancing_weight=UInt32Value(value=value.weight),
        metadata=base_pb2.Metadata(filter_metadata={"istio": workload}),
    )


def bare_assignment(value: LoadAssignment) -> bytes:
    places = [
        endpoint_components_pb2.LocalityLbEndpoints(
            locality=base_pb2.Locality(region=p.locality.region, zone=p.locality.zone),
            lb_endpoints=[bare_endpoint(e) for e in p.endpoints],
            load_balancing_weight=UInt32Value(value=p.weight),
        )
        for p in value.localities
    ]
    return packed(endpoint_pb2.ClusterLoadAssignment(cluster_name=value.name, endpoints=places))


def bare_virtual_host(value: VirtualHost) -> bytes:
    return serialised(bare_host(value))


def bare_host(value: VirtualHost) -> route_components_pb2.VirtualHost:
    return route_components_pb2.VirtualHost(
        name=value.name,
        domains=value.domains,
        routes=[bare_route(route) for route in value.routes],
        include_request_attempt_count=True,
    )


def bare_route(route: Route) -> route_components_pb2.Route:
    if isinstance(route.action, Tunnel):
        return bare_tunnel(route.name, route.action.upstream)
    assert isinstance(route.action, ForwardTo)
    retry = route_components_pb2.RetryPolicy(
        retry_on="connect-failure,refused-stream,unavailable,cancelled",
        num_retries=UInt32Value(value=2),
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=PREVIOUS_HOSTS
            )
        ],
        host_selection_retry_max_attempts=5,
    )
    action = route_components_pb2.RouteAction(
        cluster=route.action.upstreams[0].upstream,
        timeout=Duration(),
        retry_policy=retry,
    )
    return route_components_pb2.Route(
        name=route.name,
        match=route_components_pb2.RouteMatch(prefix="/"),
        route=action,
        decorator=route_components_pb2.Decorator(operation=route.operation),
    )


def bare_tunnel(name: str, upstream: str) -> route_components_pb2.Route:
    connect = route_components_pb2.RouteAction.UpgradeConfig(upgrade_type="CONNECT")
    connect.connect_config.SetInParent()
    action = route_components_pb2.RouteAction(cluster=upstream, timeout=Duration(), upgrade_configs=[connect])
    match = route_components_pb2.RouteMatch()
    match.connect_matcher.SetInParent()
    return route_components_pb2.Route(name=name, match=match, route=action)


def bare_configuration(value: RouteConfiguration) -> bytes:
    hosts = [bare_host(host) for host in value.virtual_hosts]
    return packed(route_pb2.RouteConfiguration(name=value.name, virtual_hosts=hosts))


def encode_virtual_host(value: VirtualHost) -> bytes:
    return routes.encode_virtual_host(value.name, value.domains, routes.encode_routes(value.routes))


# -- measuring ---------------------------------------------------------------------------------------------------------


def microseconds(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e6


def report(what: str, count: int, bare: float, first: float, warm: float) -> None:
    columns = (f"{time / count:9.1f}" for time in (bare, first, warm))
    print(f"{what:16}{''.join(columns)}{first / bare:9.2f}{warm / bare:9.2f}")


def case(what: str, values: list[object], bare: Callable[..., bytes], encode: Callable[..., bytes]) -> None:
    """Times over values that differ; the first time around templates are still being made."""

    def over(function: Callable[..., bytes]) -> Callable[[], list[bytes]]:
        return lambda: [function(value) for value in values]

    first = microseconds(over(encode))
    warm = min(microseconds(over(encode)) for _ in range(3))
    slow = min(microseconds(over(bare)) for _ in range(3))
    report(what, len(values), slow, first, warm)


def same(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    assert all(one == other for one, other in pairs)


def main(count: int) -> None:
    ups, sets = [upstream(n) for n in range(count)], [assignment(n) for n in range(count)]
    hosts, binds = [virtual_host(n) for n in range(count)], [listener(n) for n in range(count)]
    print(f"{count} services x 10 endpoints; microseconds of CPU each, and ratios to bare protobuf")
    print(f"{'':16}{'bare':>9}{'first':>9}{'warm':>9}{'first/b':>9}{'warm/b':>9}")
    case("cluster", [*ups], bare_cluster, clusters.encode)
    case("load assignment", [*sets], bare_assignment, endpoints.encode)
    case("virtual host", [*hosts], bare_virtual_host, encode_virtual_host)
    case("listener", [*binds], lambda value: listeners.build(*listeners.taken_apart(value)), listeners.encode)
    configuration = RouteConfiguration("80", tuple(hosts))
    print(f"route configuration, warm: {microseconds(lambda: routes.encode(configuration)) / 1000:.1f} ms")
    same((clusters.encode(value), bare_cluster(value)) for value in ups)
    same((endpoints.encode(value), bare_assignment(value)) for value in sets)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
