"""The resources of gRPC applications without a proxy; those of proxies are in `resources`."""

from core.compiler.inputs import Inputs
from core.compiler.proxyless import grpc_assignments, grpc_servers, grpc_upstreams, target_routes, targets
from core.compiler.scope import Scope
from core.envoy import proxyless, routes, wire
from core.incremental import derived
from core.manager.resources import Resources, assignment, contributions, leaf, version_of, versioned
from core.manager.xds.resource import Resource
from core.model.service import ServiceKey, WorkloadKey
from core.view.proxyless import Target
from core.view.route import Route, RouteConfiguration
from core.view.upstream import Upstream


@derived
def cluster(inputs: Inputs, upstream: Upstream) -> Resource:
    body = proxyless.encode_cluster(upstream)
    version = version_of(body)
    return Resource(upstream.name, version, body, contributions(upstream.origins, version.encode()))


@derived
def service_clusters(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    return tuple(cluster(inputs, each) for each in grpc_upstreams(inputs, namespace, key))


@derived
def service_endpoints(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    return tuple(assignment(inputs, each) for each in grpc_assignments(inputs, namespace, key))


@derived
def target(inputs: Inputs, value: Target) -> Resource:
    body = proxyless.encode_target(value)
    return Resource(name=value.name, version=version_of(body), body=body)


@derived
def service_targets(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    return tuple(target(inputs, each) for each in targets(inputs, namespace, key))


@derived
def service_routes(inputs: Inputs, scope: Scope, key: ServiceKey) -> Resources:
    return tuple(_configuration(inputs, each) for each in target_routes(inputs, scope, key))


@derived
def route(inputs: Inputs, value: Route) -> bytes:
    return proxyless.encode_route(value)


def _configuration(inputs: Inputs, value: RouteConfiguration) -> Resource:
    (host,) = value.virtual_hosts
    encoded = b"".join(route(inputs, each) for each in host.routes)
    body = routes.encode_virtual_host(host.name, host.domains, encoded)
    part = leaf(body, (each.origin for each in host.routes if each.origin is not None))
    whole = wire.Rope(*routes.wrap(value.name, (part.body,), wire.size(part.body)))
    return versioned(value.name, part, name=value.name, body=whole)


@derived
def workload_listeners(inputs: Inputs, key: WorkloadKey) -> Resources:
    """What the servers of this workload ask for."""
    found = ((proxyless.server_name(each), proxyless.encode_server(each)) for each in grpc_servers(inputs, key))
    return tuple(Resource(name=name, version=version_of(body), body=body) for name, body in found)
