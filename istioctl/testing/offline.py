"""A mesh that was planned but never started: what the simulator needs, with every instance healthy."""

from pathlib import Path

import msgspec

from core.compiler.inputs import Inputs
from core.compiler.view import ProxyView
from core.diagnostics import Diagnostic
from core.manager.world import World
from core.model.change import ConfigPut, InstancePut, SecretPut, ServicePut, WorkloadPut
from core.model.service import Health, WorkloadKey
from istioctl.testing.certificates import some
from istioctl.testing.mesh import documents, loaded
from platforms.local.addresses import Allocator
from platforms.local.plan import Plan, plan


class StillMesh:
    """The mesh of `mesh_file` under the documents in `rules`, the first the oldest."""

    def __init__(self, planned: Plan, *, rules: str = "") -> None:
        self.plan = planned
        self._world = World()
        for service in planned.services:
            self._world.apply(ServicePut(service))
        for workload in planned.workloads:
            self._world.apply(WorkloadPut(workload))
        for instance in planned.instances:
            self._world.apply(InstancePut(msgspec.structs.replace(instance, health=Health.HEALTHY)))
        for spec in planned.secrets:
            self._world.apply(SecretPut(some().secret(spec.secret)))
        for age, document in enumerate(documents(rules, namespace="default")):
            self._world.apply(ConfigPut(msgspec.structs.replace(document, created=float(age + 1))))

    @property
    def inputs(self) -> Inputs:
        return self._world.inputs

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(finding for found in self._world.diagnostics.values() for finding in found)

    def view(self, key: WorkloadKey) -> ProxyView:
        return ProxyView(self.inputs, key)


def planned(mesh_file: Path) -> Plan:
    """What `mesh_file` brings into being; the addresses are those of slot 0."""
    return plan(loaded(mesh_file), Allocator(0))
