"""Workloads as people name them: `reviews-v1`, or `reviews-v1.shop` for one of another namespace."""

from collections.abc import Iterable

from core.errors import NotFound
from core.model.service import WorkloadKey


def which(text: str, known: Iterable[WorkloadKey], *, namespace: str) -> WorkloadKey:
    """The one of `known` that is meant; a bare name is looked up in `namespace`.

    Raises `NotFound`, with what was probably meant.
    """
    keys = sorted(known)
    by_name = {key.name: key for key in keys if key.namespace == namespace}
    by_name |= {str(key): key for key in keys}
    if text in by_name:
        return by_name[text]
    raise NotFound(f'there is no proxy of a workload "{text}" (namespace {namespace})', fix=_nearest(text, keys))


def _nearest(text: str, keys: list[WorkloadKey]) -> str:
    from difflib import get_close_matches

    elsewhere = [str(key) for key in keys if key.name == text]
    near = elsewhere or get_close_matches(text, [name for key in keys for name in (str(key), key.name)], n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return "istioctl proxy-status lists those that are connected" if keys else "no proxy is there at all"


def short(key: WorkloadKey, namespace: str) -> str:
    """As one would type it, being in `namespace`."""
    return key.name if key.namespace == namespace else str(key)
