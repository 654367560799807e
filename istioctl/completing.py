"""What the shell offers behind commands: kinds, and the names that the running mesh has."""

import click

from core.errors import MeshError
from istioctl.options import Where

PATIENCE = 0.5
"""Seconds to wait for a Manager while somebody holds the TAB key."""


def kinds(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from core.kinds.registry import KINDS

    return [kind.plural for kind in KINDS if kind.plural.startswith(incomplete.lower())]


def names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Nothing when no Manager answers: a prompt is no place for an error."""
    from istioctl.names import find_kind

    where = context.find_object(Where)
    try:
        kind = find_kind(_said(context)[0])
        assert where
        with where.api(timeout=PATIENCE) as api:
            found = api.list(kind, where.namespace_for(kind.namespace))
    except MeshError:
        return []
    return [resource.metadata.name for resource in found if resource.metadata.name.startswith(incomplete)]


def revisions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """That are remembered of the object, the newest first."""
    from istioctl.names import find_kind

    where, (said, name) = context.find_object(Where), (context.params.get(each) for each in ("kind", "name"))
    try:
        kind = find_kind(str(said))
        assert where
        with where.api(timeout=PATIENCE) as api:
            found = api.history(kind, where.namespace_for(kind.namespace), str(name)).revisions
    except MeshError:
        return []
    return [each.revision for each in reversed(found) if each.object and each.revision.startswith(incomplete)]


def kind_then_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For an argument that takes both."""
    return (names if _said(context) else kinds)(context, parameter, incomplete)


def sidecars(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Workloads whose proxy runs on this machine."""
    from istioctl.sidecars import sidecars as found
    from istioctl.workloads import short

    where = context.find_object(Where)
    assert where
    names = (short(key, where.namespace_for()) for key in found(where.state_dir))
    return [name for name in names if name.startswith(incomplete)]


def proxies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Workloads whose proxy is connected to the Manager; nothing when no Manager answers."""
    from istioctl.workloads import short

    where = context.find_object(Where)
    assert where
    try:
        with where.api(timeout=PATIENCE) as api:
            found = api.status().proxies
    except MeshError:
        return []
    names = (short(proxy.workload, where.namespace_for()) for proxy in found)
    return [name for name in names if name.startswith(incomplete)]


def callers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Who can be revoked; nothing when no Manager answers."""
    where = context.find_object(Where)
    assert where
    try:
        with where.api(timeout=PATIENCE) as api:
            found = api.callers()
    except MeshError:
        return []
    return [each.name for each in found if not each.owner and each.name.startswith(incomplete)]


def _said(context: click.Context) -> tuple[str, ...]:
    """The kind and names on the command line so far."""
    said = next((context.params[name] for name in ("what", "kinds", "kind") if context.params.get(name)), ())
    return (said,) if isinstance(said, str) else tuple(said)
