"""Changes: what a registry or a config store reports, one value per fact. The newest value is the truth."""

from typing import assert_never

import msgspec

from core.model.config import ConfigKey, Document
from core.model.secret import Secret, SecretKey
from core.model.service import Instance, InstanceKey, Service, ServiceKey, WorkloadKey
from core.model.workload import Workload


class ServicePut(msgspec.Struct, frozen=True, tag=True):
    service: Service


class ServiceGone(msgspec.Struct, frozen=True, tag=True):
    key: ServiceKey


class InstancePut(msgspec.Struct, frozen=True, tag=True):
    instance: Instance


class InstanceGone(msgspec.Struct, frozen=True, tag=True):
    key: InstanceKey


class WorkloadPut(msgspec.Struct, frozen=True, tag=True):
    workload: Workload


class WorkloadGone(msgspec.Struct, frozen=True, tag=True):
    key: WorkloadKey


class ConfigPut(msgspec.Struct, frozen=True, tag=True):
    document: Document


class ConfigGone(msgspec.Struct, frozen=True, tag=True):
    key: ConfigKey


class SecretPut(msgspec.Struct, frozen=True, tag=True):
    secret: Secret


class SecretGone(msgspec.Struct, frozen=True, tag=True):
    key: SecretKey


class Synced(msgspec.Struct, frozen=True, tag=True):
    """Everything that existed when the watch began has been reported. Sent exactly once per watch."""


RegistryChange = ServicePut | ServiceGone | InstancePut | InstanceGone | WorkloadPut | WorkloadGone | Synced
ConfigChange = ConfigPut | ConfigGone | Synced
SecretChange = SecretPut | SecretGone | Synced
Change = RegistryChange | ConfigChange | SecretChange

RegistryKey = ServiceKey | InstanceKey | WorkloadKey
RegistryValue = Service | Instance | Workload


def registry_put(value: RegistryValue) -> RegistryChange:
    """The change that says `value` exists and is like this."""
    match value:
        case Service():
            return ServicePut(value)
        case Instance():
            return InstancePut(value)
        case Workload():
            return WorkloadPut(value)
        case _:
            assert_never(value)


def registry_gone(key: RegistryKey) -> RegistryChange:
    """The change that says nothing is known under `key` any more."""
    match key:
        case ServiceKey():
            return ServiceGone(key)
        case InstanceKey():
            return InstanceGone(key)
        case WorkloadKey():
            return WorkloadGone(key)
        case _:
            assert_never(key)
