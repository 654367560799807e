"""The resources that only gateways have; the others are in `resources`."""

from core.compiler.gateways import Front, front_routes, fronts, gateway_listeners, gateway_secrets, gateways_of
from core.compiler.inputs import Inputs
from core.compiler.nearness import narrowed_where_names
from core.compiler.precedence import shown_service
from core.compiler.scope import Near, Scope
from core.compiler.upstreams import upstreams
from core.envoy import listeners, secrets
from core.envoy.wire import Rope
from core.incremental import derived
from core.manager.resources import Resources, cluster, contributions, policies_in, small_configuration, version_of
from core.manager.xds.resource import Resource
from core.model.service import ServiceKey, WorkloadKey
from core.view.secret import Shown


@derived
def service_clusters(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    """As for sidecars, without the ways back into the own proxy."""
    if (wanted := narrowed_where_names(inputs, namespace, key, near)) != near:
        return service_clusters(inputs, namespace, key, wanted)
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(cluster(inputs, upstream) for upstream in upstreams(inputs, namespace, key, near))


@derived
def workload_listeners(inputs: Inputs, key: WorkloadKey) -> Resources:
    """A listener stands for every document that may have a part in it, so that a refused one finds its document."""
    origins = tuple(rule.origin for rule in gateways_of(inputs, key))
    found = ((each, listeners.encode(each)) for each in gateway_listeners(inputs, key))
    return tuple(
        Resource(
            each.name,
            version_of(body),
            body,
            (*contributions(origins, version_of(body).encode()), *policies_in(each)),
        )
        for each, body in found
    )


@derived
def workload_routes(inputs: Inputs, scope: Scope, key: WorkloadKey) -> Resources:
    return tuple(resource for front in fronts(inputs, key) for resource in routes(inputs, scope, front))


@derived
def routes(inputs: Inputs, scope: Scope, front: Front) -> Resources:
    return (small_configuration(inputs, front_routes(inputs, scope, front)),)


@derived
def workload_secrets(inputs: Inputs, key: WorkloadKey) -> Resources:
    return tuple(secret(inputs, each) for each in gateway_secrets(inputs, key))


@derived
def secret(inputs: Inputs, shown: Shown) -> Resource:
    """As a rope, which does not print what it holds."""
    body = secrets.encode(shown)
    return Resource(shown.name, version_of(body), Rope(body))
