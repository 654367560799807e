"""The resources of gRPC applications without a proxy; those of proxies are in `resources`."""

from core.compiler.inputs import Inputs
from core.compiler.nearness import narrowed
from core.compiler.proxyless import grpc_assignments, grpc_servers, grpc_upstreams, target_routes, targets, would_be
from core.compiler.scope import Near, Scope
from core.envoy import endpoints, proxyless, routes, wire
from core.incremental import derived
from core.manager.resources import Resources, assignment, behind, contributions, leaf, version_of, versioned
from core.manager.xds.resource import Resource, ResourceType
from core.model.service import ServiceKey, WorkloadKey
from core.view.proxyless import Target
from core.view.route import Route, RouteConfiguration
from core.view.upstream import LoadAssignment, Upstream


@derived
def cluster(inputs: Inputs, upstream: Upstream) -> Resource:
    body = proxyless.encode_cluster(upstream)
    version = version_of(body)
    return Resource(upstream.name, version, body, contributions(upstream.origins, version.encode()))


@derived
def service_clusters(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    return tuple(cluster(inputs, each) for each in grpc_upstreams(inputs, namespace, key))


@derived
def service_endpoints(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    if (wanted := narrowed(inputs, namespace, key, near)) != near:
        return service_endpoints(inputs, namespace, key, wanted)
    return tuple(assignment(inputs, each) for each in grpc_assignments(inputs, namespace, key, near))


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
    found = ((each, proxyless.encode_server(each)) for each in grpc_servers(inputs, key))
    return tuple(
        Resource(proxyless.server_name(each), version_of(body), body, behind(each.checks)) for each, body in found
    )


def stand_in(inputs: Inputs, namespace: str, type_: ResourceType, name: str) -> Resource | None:
    """What clients in `namespace` get for what is not there, so that they need not wait for it (`StandIn`)."""
    match type_:
        case ResourceType.LISTENER:
            body = proxyless.encode_unknown(name, would_be(name, namespace, inputs.mesh.domain_suffix))
        case ResourceType.CLUSTER:
            body = proxyless.encode_nobody(name)
        case ResourceType.ENDPOINTS:
            body = endpoints.encode(LoadAssignment(name))
        case _:
            body = None
    return None if body is None else Resource(name=name, version=version_of(body), body=body)
