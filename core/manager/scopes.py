"""Which resources a group consists of: the roots that are kept compiled, and their results in the group's logs.

One `Assembly` for each scope and one for each workload with a proxy. A root yields resources of one type; when its
result changes, only what differs goes to the log.
"""

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import cast

from core.compiler.inputs import ANY_PORT, Inputs
from core.compiler.scope import Scope
from core.incremental import ABSENT, Failed, Root
from core.manager import captured, gateways, proxyless, resources
from core.manager.resources import Resources
from core.manager.xds.group import Group, StandIn, nothing
from core.manager.xds.resource import ResourceType
from core.model.service import ServiceKey, WorkloadKey

Rule = tuple[ResourceType, Callable[..., Resources], tuple[Hashable, ...]]
"""A type, a derived function that yields resources of it, and its arguments after the inputs."""


class Assembly:
    """A group and the roots behind it. `parts` maps what a root is for (a service, a port, None) to its roots."""

    def __init__(self, inputs: Inputs, *, stand_in: StandIn = nothing) -> None:
        self.group = Group(stand_in=stand_in)
        self._inputs = inputs
        self._parts: dict[Hashable, list[Root[Resources]]] = {}

    def rules(self, part: Hashable) -> Iterator[Rule]:
        """The rules that make up one part."""
        raise NotImplementedError

    def keep(self, part: Hashable) -> dict[Root[Resources], ResourceType]:
        """Pins the roots of `part`; nothing happens when they are."""
        if part in self._parts:
            return {}
        graph, inputs = self._inputs.graph, self._inputs
        pinned = {graph.keep(rule, inputs, *args): type_ for type_, rule, args in self.rules(part)}
        self._parts[part] = list(pinned)
        return pinned

    def release(self, part: Hashable) -> list[Root[Resources]]:
        """Unpins the roots of `part` and returns them; what they yielded has to leave the logs."""
        return self._parts.pop(part, [])

    def parts(self) -> tuple[Hashable, ...]:
        return tuple(self._parts)

    def withdraw(self, type_: ResourceType, change: tuple[object, object], generation: int) -> None:
        """Takes out of the log what a root's old result had and its new one has not."""
        old, new = (_resources(side) for side in change)
        kept = {resource.name for resource in new}
        for resource in old:
            if resource.name not in kept:
                self.group[type_].remove(resource.name, generation)

    def deliver(self, type_: ResourceType, new: object, generation: int) -> None:
        """Puts a root's new result into the log; equal versions change nothing."""
        for resource in _resources(new):
            self.group[type_].put(resource, generation)


def _resources(value: object) -> Resources:
    if value is ABSENT:
        return ()
    if isinstance(value, Failed):
        raise value.error
    return cast(Resources, value)


class ScopeAssembly(Assembly):
    """What the proxies of one scope share: everything outbound but listeners with addresses of their own."""

    def __init__(self, inputs: Inputs, scope: Scope) -> None:
        stand_in = partial(proxyless.stand_in, inputs, scope.namespace)
        super().__init__(inputs, stand_in=stand_in if scope.capture == "proxyless" else nothing)
        self.scope = scope

    def rules(self, part: Hashable) -> Iterator[Rule]:
        if part is None and self.scope.capture != "proxyless":
            yield ResourceType.CLUSTER, resources.fixed_clusters, (self.scope.capture,)
        match self.scope.capture:
            case "none":
                yield from (*self._routes(part), *self._tunnelled(part))
            case "redirect":
                yield from (*self._routes(part), *self._redirected(part))
            case "gateway":
                yield from self._called(part)
            case "proxyless":
                yield from self._proxyless(part)

    def _routes(self, part: Hashable) -> Iterator[Rule]:
        """Of sidecars, however captured."""
        if isinstance(part, ServiceKey):
            yield ResourceType.ROUTES, resources.service_routes, (self.scope.anywhere, part)
        elif part is not None:
            yield ResourceType.ROUTES, resources.port_routes, (self.scope.anywhere, part)

    def _called(self, part: Hashable) -> Iterator[Rule]:
        """What gateways need to call services; who calls them is the workload's own part."""
        if isinstance(part, ServiceKey):
            yield ResourceType.CLUSTER, gateways.service_clusters, (self.scope.namespace, part, self.scope.near)
            yield ResourceType.ENDPOINTS, resources.service_endpoints, (self.scope.namespace, part, self.scope.near)

    def _proxyless(self, part: Hashable) -> Iterator[Rule]:
        """What clients of gRPC ask for, each by name."""
        if isinstance(part, ServiceKey):
            yield ResourceType.CLUSTER, proxyless.service_clusters, (self.scope.namespace, part)
            yield ResourceType.ENDPOINTS, proxyless.service_endpoints, (self.scope.namespace, part, self.scope.near)
            yield ResourceType.LISTENER, proxyless.service_targets, (self.scope.namespace, part)
            yield ResourceType.ROUTES, proxyless.service_routes, (self.scope.anywhere, part)

    def _tunnelled(self, part: Hashable) -> Iterator[Rule]:
        """What is only so in capture `none`."""
        if part is None:
            yield ResourceType.ROUTES, resources.port_routes, (self.scope.anywhere, ANY_PORT)
        elif isinstance(part, ServiceKey):
            yield ResourceType.CLUSTER, resources.service_clusters, (self.scope.namespace, part, self.scope.near)
            yield ResourceType.ENDPOINTS, resources.service_endpoints, (self.scope.namespace, part, self.scope.near)
            yield ResourceType.LISTENER, resources.service_listeners, (self.scope.namespace, part)
        else:
            yield ResourceType.CLUSTER, resources.tunnel_clusters, (part,)
            yield ResourceType.LISTENER, resources.tunnel_listeners, (part,)

    def _redirected(self, part: Hashable) -> Iterator[Rule]:
        """What is only so in capture `redirect`."""
        namespace, dns_port = self.scope.namespace, self.scope.dns_port
        if isinstance(part, ServiceKey):
            yield ResourceType.CLUSTER, captured.service_clusters, (namespace, part, self.scope.near)
            yield ResourceType.ENDPOINTS, captured.service_endpoints, (namespace, part, self.scope.near)
            yield ResourceType.LISTENER, captured.service_listeners, (namespace, part)
        elif part is not None:
            yield ResourceType.LISTENER, captured.port_listeners, (namespace, part)
        elif dns_port:
            yield ResourceType.LISTENER, captured.dns_listeners, (namespace, dns_port, self.scope.resolver)


class WorkloadAssembly(Assembly):
    """What one workload's proxy has alone: everything inbound, and listeners on its own addresses."""

    def __init__(self, inputs: Inputs, key: WorkloadKey, *, scope: Scope) -> None:
        super().__init__(inputs)
        self.key = key
        self.scope = scope

    def rules(self, part: Hashable) -> Iterator[Rule]:
        if self.scope.capture == "gateway":
            yield from self._gateway() if part is None else ()
        elif self.scope.capture == "proxyless":
            yield from self._servers() if part is None else ()
        elif part is None:
            yield ResourceType.CLUSTER, resources.inbound_clusters, (self.key,)
            yield ResourceType.LISTENER, resources.workload_listeners, (self.key,)
        elif isinstance(part, ServiceKey) and self.scope.virtual:
            yield ResourceType.LISTENER, resources.workload_service_listeners, (self.key, part)

    def _servers(self) -> Iterator[Rule]:
        yield ResourceType.LISTENER, proxyless.workload_listeners, (self.key,)

    def _gateway(self) -> Iterator[Rule]:
        yield ResourceType.LISTENER, gateways.workload_listeners, (self.key,)
        yield ResourceType.ROUTES, gateways.workload_routes, (self.scope.anywhere, self.key)
        yield ResourceType.SECRET, gateways.workload_secrets, (self.key,)
