"""The one mutable state of the Manager: applies changes to the input tables and keeps their indexes.

No await, no lock, no I/O. Documents are lowered here, once; what cannot be lowered has no rules.
"""

from collections import Counter
from functools import partial
from typing import assert_never

from core.compiler.declared import declared, service_keys
from core.compiler.inputs import ANY_PORT, HTTP_PORT, Inputs
from core.compiler.nearness import asked_by, asked_of_callers
from core.compiler.precedence import gateways
from core.diagnostics import Diagnostic
from core.ir.declared import Declaration
from core.ir.routing import RouteRule
from core.ir.traffic import DestinationPolicy
from core.kinds import meshconfig
from core.kinds.registry import lower
from core.manager.indexed import directory_ports, http_ports, lower_case, names_of, octets, open_ports
from core.manager.proved import Proved
from core.manager.rules import (
    NO_RULES,
    Rules,
    in_force,
    put_access,
    put_gateway,
    put_peers,
    rules_of,
)
from core.manager.secrets import problem
from core.model.change import (
    Change,
    ConfigGone,
    ConfigPut,
    InstanceGone,
    InstancePut,
    SecretGone,
    SecretPut,
    ServiceGone,
    ServicePut,
    Synced,
    WorkloadGone,
    WorkloadPut,
)
from core.model.config import ConfigKey, Document
from core.model.identity import SpiffeId
from core.model.mesh import Mesh
from core.model.secret import Secret
from core.model.service import Instance, InstanceKey, Service, ServiceKey, WorkloadKey
from core.model.workload import Proxyless, Workload


class World:
    """Owns `inputs`. `diagnostics` holds what was found in each document by itself.

    `http_ports` counts who speaks HTTP on a port by declaration, `open_ports` who is known by a port and nothing else,
    `label_names` the rules that ask for a caller's label.
    """

    def __init__(self) -> None:
        self.inputs = Inputs()
        self.documents: dict[ConfigKey, Document] = {}
        self.diagnostics: dict[ConfigKey, tuple[Diagnostic, ...]] = {}
        self.http_ports: Counter[int] = Counter()
        self.open_ports: Counter[int] = Counter()
        self.label_names: Counter[str] = Counter()
        self._asking: dict[ConfigKey, frozenset[str]] = {}
        self._asked: Counter[frozenset[str]] = Counter()
        self._identities: Counter[tuple[ServiceKey, SpiffeId]] = Counter()
        self._proved = Proved(NO_RULES, partial(in_force, self.inputs))

    def mesh(self) -> Mesh:
        """The mesh's settings of the moment."""
        return self.inputs.mesh

    @property
    def near_labels(self) -> frozenset[str] | None:
        """The labels of callers by which some rule says who is near; None: it makes no difference where callers are."""
        return asked_of_callers(self.inputs.mesh, self._asked)

    def apply(self, change: Change) -> None:
        """Updates tables and indexes so that they say what `change` says."""
        match change:
            case ServicePut(service):
                self._put_service(service.key, service)
            case ServiceGone(key):
                self._put_service(key, None)
            case InstancePut(instance):
                self._put_instance(instance.key, instance)
            case InstanceGone(key):
                self._put_instance(key, None)
            case WorkloadPut(workload):
                self._put_workload(workload.key, workload)
            case WorkloadGone(key):
                self._put_workload(key, None)
            case SecretPut(secret):
                self._put_secret(secret)
            case SecretGone(secret_key):
                self.inputs.secrets.remove(secret_key)
                self.inputs.secret_problems.remove(secret_key)
            case ConfigPut(document):
                self._put_document(document)
            case ConfigGone(key):
                self._drop_document(key)
            case Synced():
                pass
            case _:
                assert_never(change)

    def _put_service(self, key: ServiceKey, service: Service | None) -> None:
        old = self.inputs.services.get(key)
        service = lower_case(service) if service is not None else None
        if old == service:
            return
        if service is not None:
            self._index_service(service)
            self.inputs.services.put(key, service)
        else:
            self.inputs.services.remove(key)
        if old is not None:
            self._unindex_service(old, service)

    def _index_service(self, service: Service) -> None:
        for name in names_of(service):
            self.inputs.services_by_host.add(name, service.key)
        for octet in octets(service):
            self.inputs.services_by_octet.add(octet, service.key)
        for port in open_ports(service):
            self.inputs.unaddressed_by_port.add(port, service.key)
        self.open_ports.update(open_ports(service))
        for port in directory_ports(service):
            self.inputs.http_hosts.add(port, service.key.host)
        self.http_ports.update(http_ports(service))

    def _unindex_service(self, old: Service, new: Service | None) -> None:
        for name in names_of(old) - (names_of(new) if new else set()):
            self.inputs.services_by_host.discard(name, old.key)
        for octet in octets(old) - (octets(new) if new else set()):
            self.inputs.services_by_octet.discard(octet, old.key)
        for port in open_ports(old) - (open_ports(new) if new else set()):
            self.inputs.unaddressed_by_port.discard(port, old.key)
        self.open_ports.subtract(open_ports(old))
        self.open_ports += Counter()
        for port in directory_ports(old):
            self.inputs.http_hosts.discard(port, old.key.host)
        self.http_ports.subtract(http_ports(old))
        self.http_ports += Counter()

    def _put_instance(self, key: InstanceKey, instance: Instance | None) -> None:
        old = self.inputs.instances.get(key)
        if instance is None:
            self.inputs.instances.remove(key)
            self.inputs.instances_by_service.discard(key.service, key)
        else:
            self.inputs.instances.put(key, instance)
            self.inputs.instances_by_service.add(key.service, key)
            self.inputs.instances_by_address.add(instance.address, key)
        if old is not None and (instance is None or instance.address != old.address):
            self.inputs.instances_by_address.discard(old.address, key)
        self._count_identity(key.service, old, instance)
        before = old.workload if old is not None else None
        after = instance.workload if instance is not None else None
        if before is not None and before != after:
            self.inputs.instances_by_workload.discard(before, key)
        if after is not None:
            self.inputs.instances_by_workload.add(after, key)

    def _count_identity(self, service: ServiceKey, old: Instance | None, new: Instance | None) -> None:
        before = old.identity if old is not None else None
        after = new.identity if new is not None else None
        if before == after:
            return
        if after is not None:
            self._identities[service, after] += 1
            self.inputs.identities.add(service, after)
        if before is not None:
            self._identities[service, before] -= 1
            if not self._identities[service, before]:
                del self._identities[service, before]
                self.inputs.identities.discard(service, before)

    def _put_workload(self, key: WorkloadKey, workload: Workload | None) -> None:
        if workload is None:
            self.inputs.workloads.remove(key)
            self.inputs.workloads_by_namespace.discard(key.namespace, key)
        else:
            self.inputs.workloads.put(key, workload)
            self.inputs.workloads_by_namespace.add(key.namespace, key)
        if workload is not None and isinstance(workload.capture, Proxyless):
            self.inputs.grpc_workloads.add("", key)
        else:
            self.inputs.grpc_workloads.discard("", key)
        if workload is not None and workload.role == "gateway":
            self.inputs.gateway_workloads.add("", key)
        else:
            self.inputs.gateway_workloads.discard("", key)

    def _put_secret(self, secret: Secret) -> None:
        """A secret that is no good changes nothing: proxies keep what they have, and its problem is told."""
        if found := problem(secret):
            self.inputs.secret_problems.put(secret.name, found)
        else:
            self.inputs.secrets.put(secret.name, secret)
            self.inputs.secret_problems.remove(secret.name)

    def _put_document(self, document: Document) -> None:
        self.documents[document.key] = document
        if document.key == meshconfig.KEY:
            lowered = meshconfig.lower_mesh(document)
            self.diagnostics[document.key] = lowered.diagnostics
            self._put_mesh(lowered.mesh or self.inputs.mesh)
        else:
            self._lower(document)

    def _drop_document(self, key: ConfigKey) -> None:
        self.documents.pop(key, None)
        self.diagnostics.pop(key, None)
        if key == meshconfig.KEY:
            self._put_mesh(Mesh())
            return
        self._put_rules(key, NO_RULES)
        self._proved.forget(key)

    def _put_mesh(self, mesh: Mesh) -> None:
        """Documents are lowered in the light of the mesh's settings, so all of them are lowered again."""
        if mesh == self.inputs.mesh:
            return
        self.inputs.mesh = mesh
        for document in self.documents.values():
            if document.key != meshconfig.KEY:
                self._lower(document)

    def _lower(self, document: Document) -> None:
        key = document.key
        self._proved.begin(key)
        lowered = lower(document, self.inputs.mesh)
        self.diagnostics[key] = lowered.diagnostics
        self._put_rules(key, rules_of(lowered))

    def revert(self, key: ConfigKey) -> None:
        """Puts a document back to what it was in force as when that was last proved, nothing for a new one."""
        if key in self.documents and not self._proved.is_reverted(key):
            self._put_rules(key, self._proved.revert(key))

    def knows_better(self, key: ConfigKey) -> bool:
        """Whether there is anything to put the document back to."""
        return self._proved.knows_better(key)

    def recall(self, document: Document) -> None:
        """This is what the document was when it was last proved, before this Manager was there."""
        if document.key != meshconfig.KEY:
            self._proved.recall(document.key, rules_of(lower(document, self.inputs.mesh)))

    def is_proved(self, key: ConfigKey) -> bool:
        """Whether all proxies took the document as it is."""
        return self._proved.is_proved(key)

    @property
    def unproved(self) -> bool:
        """Whether some document changed of which it is not known that it is good."""
        return self._proved.unproved

    def settled(self, generation: int) -> None:
        """What is in force now is what proxies get as `generation`."""
        self._proved.settled(generation)

    def prove(self, generation: int) -> None:
        """All proxies took what was settled up to `generation`: documents can be reverted to that from now on."""
        self._proved.prove(generation)

    def restore(self, key: ConfigKey) -> None:
        """Takes a reverted document as it is again."""
        if self._proved.is_reverted(key):
            self._lower(self.documents[key])

    def _put_rules(self, key: ConfigKey, rules: Rules) -> None:
        rule, policy, declaration, gateway, peers, access = rules
        self._put_rule(key, rule)
        self._put_policy(key, policy)
        self._put_declaration(key, declaration)
        put_gateway(self.inputs, key, gateway)
        put_peers(self.inputs, key, peers)
        put_access(self.inputs, key, access)

    def declares(self, key: ConfigKey) -> tuple[ServiceKey, ...]:
        """The services that exist because of a document."""
        declaration = self.inputs.declarations.get(key)
        return () if declaration is None else service_keys(declaration)

    def _put_declaration(self, key: ConfigKey, declaration: Declaration | None) -> None:
        old, new = declared(self.inputs.declarations.get(key)), declared(declaration)
        if declaration is not None:
            self.inputs.declarations.put(key, declaration)
        else:
            self.inputs.declarations.remove(key)
        for service in new.services:
            self._put_service(service.key, service)
        for instance in new.instances:
            self._put_instance(instance.key, instance)
        for instance_key in {each.key for each in old.instances} - {each.key for each in new.instances}:
            self._put_instance(instance_key, None)
        for service_key in {each.key for each in old.services} - {each.key for each in new.services}:
            self._put_service(service_key, None)

    def _put_rule(self, key: ConfigKey, rule: RouteRule | None) -> None:
        inputs = self.inputs
        old = inputs.route_rules.get(key)
        if rule is not None:
            for host in rule.hosts:
                inputs.route_rules_by_host.add(host, key)
                _list_rule_host(inputs, host)
            for gateway in gateways(rule):
                inputs.route_rules_by_gateway.add(gateway, key)
            self.http_ports[HTTP_PORT] += len(rule.hosts)
            inputs.route_rules.put(key, rule)
            self.label_names.update(_label_names(rule))
        if old is not None:
            for host in set(old.hosts) - set(rule.hosts if rule else ()):
                inputs.route_rules_by_host.discard(host, key)
            for gateway in set(gateways(old)) - set(gateways(rule) if rule else ()):
                inputs.route_rules_by_gateway.discard(gateway, key)
            for host in old.hosts:
                _unlist_rule_host(inputs, host)
            self.http_ports[HTTP_PORT] -= len(old.hosts)
            self.http_ports += Counter()
            self.label_names.subtract(_label_names(old))
            self.label_names += Counter()
            if rule is None:
                inputs.route_rules.remove(key)

    def _put_policy(self, key: ConfigKey, policy: DestinationPolicy | None) -> None:
        inputs = self.inputs
        old = inputs.policies.get(key)
        if old is not None and (policy is None or policy.host != old.host):
            inputs.policies_by_host.discard(old.host, key)
        self._ask(key, asked_by(policy, inputs.mesh) if policy is not None else None)
        if policy is None:
            inputs.policies.remove(key)
            return
        inputs.policies.put(key, policy)
        inputs.policies_by_host.add(policy.host, key)

    def _ask(self, key: ConfigKey, labels: frozenset[str] | None) -> None:
        """Many documents ask for the same, mostly for nothing but the place."""
        if (old := self._asking.pop(key, None)) is not None:
            self._asked[old] -= 1
        if labels is not None:
            self._asking[key] = labels
            self._asked[labels] += 1
        self._asked += Counter()


def _list_rule_host(inputs: Inputs, host: str) -> None:
    for port in (ANY_PORT, HTTP_PORT):
        inputs.http_hosts.add(port, host)


def _unlist_rule_host(inputs: Inputs, host: str) -> None:
    for port in (ANY_PORT, HTTP_PORT):
        inputs.http_hosts.discard(port, host)


def _label_names(rule: RouteRule) -> list[str]:
    return [name for route in rule.http for match in route.matches for name, _ in match.source.labels]
