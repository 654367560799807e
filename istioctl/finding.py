"""One object that has to be there, and what to say when it is not."""

from core.errors import MeshError, NotFound
from core.kinds.kind import Kind
from core.manager.api.objects import Resource
from istioctl.client import Api


def stored(api: Api, kind: Kind, namespace: str, name: str) -> Resource:
    """Raises `NotFound`, with what was probably meant."""
    if resource := api.find(kind, namespace, name):
        return resource
    raise missing(api, kind, namespace, name)


def missing(api: Api, kind: Kind, namespace: str, name: str) -> NotFound:
    text = f'there is no {kind.kind.lower()} "{name}" in namespace {namespace}'
    return NotFound(text, fix=_nearest(api, kind, namespace, name))


def _nearest(api: Api, kind: Kind, namespace: str, name: str) -> str:
    """Who may see one namespace only is told of that one."""
    from difflib import get_close_matches

    try:
        known = api.list(kind)
    except MeshError:
        known = api.list(kind, namespace)
    elsewhere = sorted(each.metadata.namespace for each in known if each.metadata.name == name)
    if elsewhere:
        return f"there is one in namespace {' and '.join(elsewhere)}: add -n {elsewhere[0]}"
    here = [each.metadata.name for each in known if each.metadata.namespace == namespace]
    if near := get_close_matches(name, here, n=1):
        return f'did you mean "{near[0]}"?'
    return f"istioctl get {kind.plural} -A shows what there is"
