"""Documents as the Manager has them, what they mean, and what to say when they are not to be touched."""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import structs

from core.errors import Misconfigured
from core.kinds.kind import Kind
from core.kinds.registry import lower
from core.manager.api.objects import Metadata, Resource
from core.model.config import ConfigKey, Document
from istioctl.differing import as_written
from istioctl.shifting.words import MESH, Target

Json = dict[str, object]
T = TypeVar("T")


class Planned(NamedTuple):
    """A document as it shall be, and as it is stored (None: not yet)."""

    kind: Kind
    wanted: Resource
    stored: Resource | None

    @property
    def revision(self) -> str:
        """Of what was read; "" for none."""
        return self.stored.metadata.resource_version if self.stored else ""


def meanings(resources: Iterable[Resource], shape: type[T]) -> list[tuple[Resource, T]]:
    """The IR values of this type, each beside its document."""
    return [(each, value) for each in resources for value in _lowered(each) if isinstance(value, shape)]


def _lowered(resource: Resource) -> tuple[object, ...]:
    group, _, version = resource.api_version.rpartition("/")
    metadata = resource.metadata
    key = ConfigKey(group, resource.kind, metadata.namespace, metadata.name)
    return tuple(lower(Document(key=key, version=version, spec=bytes(resource.spec)), MESH).rules)


def is_seen(visible_to: tuple[str, ...], target: Target) -> bool:
    """Whether callers in the service's own namespace follow it."""
    return bool({"*", target.namespace} & set(visible_to))


def covers(pattern: str, host: str) -> bool:
    """Whether a wildcard stands for the host."""
    return pattern.startswith("*") and host.endswith(pattern[1:])


def refusal(resource: Resource, why: str) -> Misconfigured:
    """Why a document is left alone, and how to do it by hand."""
    name, namespace, kind = resource.metadata.name, resource.metadata.namespace, resource.kind.lower()
    fix = f"istioctl get {kind} {name} -n {namespace} -o yaml > rule.yaml, edit it, and istioctl apply -f rule.yaml"
    return Misconfigured(f"{resource.kind} {namespace}/{name} {why}", fix=fix)


def check_name_is_free(target: Target, resources: Iterable[Resource]) -> None:
    """Raises `Misconfigured` when the name that a new document would get is taken."""
    for each in resources:
        if (each.metadata.namespace, each.metadata.name) == (target.namespace, target.name):
            raise refusal(each, f"is not about calls to {target.name}, and has the name that a new one would get")


def created(kind: Kind, target: Target, spec: Json) -> Planned:
    metadata = Metadata(name=target.name, namespace=target.namespace)
    api_version = f"{kind.group}/{kind.versions[0]}"
    wanted = Resource(api_version=api_version, kind=kind.kind, metadata=metadata, spec=_raw(spec))
    return Planned(kind, wanted, None)


def changed(kind: Kind, stored: Resource, spec: Json) -> Planned:
    return Planned(kind, as_written(structs.replace(stored, spec=_raw(spec))), stored)


def spec_of(resource: Resource) -> Json:
    return msgspec.json.decode(resource.spec, type=dict[str, object])


def _raw(spec: Json) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(spec))
