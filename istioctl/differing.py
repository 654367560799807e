"""What is different between two states of an object, as text that people and tools know: a unified diff of YAML."""

from difflib import unified_diff

from core.manager.api.objects import Metadata, Resource
from istioctl.output import as_yaml


def as_written(resource: Resource) -> Resource:
    """Without what only the store knows."""
    old = resource.metadata
    metadata = Metadata(name=old.name, namespace=old.namespace, labels=old.labels, annotations=old.annotations)
    return Resource(api_version=resource.api_version, kind=resource.kind, metadata=metadata, spec=resource.spec)


def difference(old: Resource | None, new: Resource | None, *, names: tuple[str, str]) -> str:
    """ "" when both say the same. None is nothing at all."""
    return "\n".join(unified_diff(_lines(old), _lines(new), *names, lineterm=""))


def _lines(resource: Resource | None) -> list[str]:
    """With sorted fields, so that their order makes no difference."""
    if resource is None:
        return []
    import msgspec

    return as_yaml(msgspec.json.decode(msgspec.json.encode(as_written(resource), order="sorted"))).splitlines()
