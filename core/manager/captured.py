"""The resources that only proxies of capture `redirect` have; the others are in `resources`."""

from core.compiler import names
from core.compiler.captured import address_listeners, captured_assignments, captured_upstreams, port_listener
from core.compiler.dns import ALL_HOSTS, name_record
from core.compiler.inputs import Inputs, Path
from core.compiler.nearness import narrowed, narrowed_where_names
from core.compiler.precedence import service_for, shown_service
from core.compiler.scope import Near
from core.envoy import dns_listener
from core.incremental import derived
from core.manager.resources import Part, Resources, assignment, cluster, joined, leaf, listener, versioned
from core.model.service import ServiceKey
from core.view.listener import Socket

DNS_ADDRESS = "127.0.0.1"


@derived
def service_clusters(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    if (wanted := narrowed_where_names(inputs, namespace, key, near)) != near:
        return service_clusters(inputs, namespace, key, wanted)
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(cluster(inputs, each) for each in captured_upstreams(inputs, namespace, key, near))


@derived
def service_endpoints(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    if (wanted := narrowed(inputs, namespace, key, near)) != near:
        return service_endpoints(inputs, namespace, key, wanted)
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(assignment(inputs, each) for each in captured_assignments(inputs, namespace, key, near))


@derived
def service_listeners(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(listener(inputs, each) for each in address_listeners(inputs, namespace, key))


@derived
def port_listeners(inputs: Inputs, namespace: str, port: int) -> Resources:
    return (listener(inputs, port_listener(inputs, namespace, port)),)


# -- DNS ---------------------------------------------------------------------------------------------------------------


@derived
def name_part(inputs: Inputs, namespace: str, host: str) -> Part:
    record = name_record(inputs, namespace, host)
    service = service_for(inputs, namespace, host)
    origin = service.origin if service is not None else None
    body = dns_listener.encode_record(record) if record is not None else b""
    return leaf(body, (origin,) if origin is not None and body else ())


@derived
def names_part(inputs: Inputs, namespace: str, path: Path) -> Part:
    """All names at and below a place in the directory of hosts."""
    directory = inputs.http_hosts
    below = [names_part(inputs, namespace, branch) for branch in directory.branches(path)]
    return joined([*below, *(name_part(inputs, namespace, host) for host in directory.hosts(path))])


@derived
def dns_listeners(inputs: Inputs, namespace: str, port: int, resolver: str) -> Resources:
    """The DNS server: it changes when a service comes or goes, and with no instance and no route."""
    part = names_part(inputs, namespace, ALL_HOSTS)
    body = dns_listener.encode(names.DNS, Socket(DNS_ADDRESS, port), (part.body,), resolver=resolver)
    return (versioned(f"{names.DNS}_{port}_{resolver}", part, name=names.DNS, body=body),)
