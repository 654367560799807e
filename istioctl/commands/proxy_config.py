"""`istioctl proxy-config`: what a proxy lives on, from the running Envoy or from a saved dump."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import Misconfigured
from istioctl import completing
from istioctl.options import Where, namespace_option, output_option, state_dir_option
from istioctl.output import say, show
from istioctl.sources import STDIN

if TYPE_CHECKING:
    from istioctl.dump.reading import Dump

ALIASES: Mapping[str, tuple[str, ...]] = {
    "cluster": ("clusters", "c"),
    "listener": ("listeners", "l"),
    "route": ("routes", "r"),
    "endpoint": ("endpoints", "ep"),
    "secret": ("secrets", "s"),
    "bootstrap": ("b",),
    "all": ("a",),
}
FILTERS: Mapping[str, tuple[str, ...]] = {
    "cluster": ("fqdn", "port", "subset", "direction"),
    "listener": ("address", "port", "type"),
    "route": ("name",),
    "endpoint": ("cluster", "status", "address", "port"),
    "secret": ("name",),
}


DUMP_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
DIRECTIONS, FITNESS = ("inbound", "outbound"), ("healthy", "unhealthy")
TYPES = ("HTTP", "TCP", "HTTP+TCP", "UNKNOWN")


class Part(click.Choice[str]):
    """A section of the dump; Istio's short names are understood, too."""

    def __init__(self) -> None:
        super().__init__(tuple(ALIASES))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        meant = next((name for name, others in ALIASES.items() if value in others), value)
        return super().convert(meant, param, ctx)


@click.command()
@click.argument("part", type=Part(), metavar="|".join(ALIASES))
@click.argument("workload", required=False, shell_complete=completing.sidecars)
@click.option("-f", "--file", type=DUMP_FILE, metavar="FILE|-", help="A saved dump instead of a running proxy.")
@click.option("--fqdn", metavar="TEXT", help="cluster: of services with this in their name.")
@click.option("--port", type=click.IntRange(0, 65535), help="cluster, listener, endpoint: on this port.")
@click.option("--subset", help="cluster: of this subset.", metavar="NAME")
@click.option("--direction", type=click.Choice(DIRECTIONS), help="cluster: of calls in, or out.")
@click.option("--address", help="listener, endpoint: at this address.", metavar="IP")
@click.option("--type", type=click.Choice(TYPES, case_sensitive=False), help="listener: of what it passes on.")
@click.option("--name", help="route, secret: the one of this name.", metavar="NAME")
@click.option("--cluster", help="endpoint: of clusters with this in their name.", metavar="TEXT")
@click.option("--status", type=click.Choice(FITNESS), help="endpoint: fit to be called, or not.")
@output_option("short", "json", "yaml")
@namespace_option
@state_dir_option
@click.pass_obj
def command(
    where: Where, /, part: str, workload: str | None, file: Path | None, output: str, **filters: str | int | None
) -> None:
    """Show what a proxy lives on.

    WORKLOAD is a name, or name.namespace. Tables have the columns of Istio's command; json and yaml are what Envoy
    says itself. FILE holds Envoy's answer to /config_dump?include_eds; it may come from another machine, and needs
    no mesh. Filters narrow one part each, as their help says. Keys are never shown. A gRPC application without a
    proxy tells nothing: for it the Manager shows what it has, of which gRPC asks for what it calls.

    \b
    Examples:
      istioctl proxy-config route productpage-v1 --name 9080
      istioctl pc endpoint productpage-v1 --cluster reviews --status healthy
      istioctl proxy-config cluster -f config_dump.json --fqdn reviews -o json
    """
    from istioctl.dump.reading import Filters
    from istioctl.dump.sections import render

    given = {name: str(value) for name, value in filters.items() if value is not None}
    for name in given:
        if name not in FILTERS.get(part, ()):
            narrowing = ", ".join(f"--{each}" for each in FILTERS.get(part, ())) or "nothing"
            raise click.UsageError(f"--{name} does not narrow {part}; {narrowing} does")
    if (workload is None) == (file is None):
        raise click.UsageError("name either a WORKLOAD or, with -f, a file")
    dump = _saved(file) if file else _running(where, workload or "", part)
    if text := render(dump, part, filters=Filters(**given), output=output):
        show(text)
    else:
        say(f"no {part} " + ("is like that" if given else "is there"))


def _saved(file: Path) -> Dump:
    """Raises `Misconfigured` when it cannot be read."""
    from istioctl.dump.reading import Dump

    try:
        content = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    return Dump(content, name="<stdin>" if file == STDIN else str(file))


def _running(where: Where, workload: str, part: str) -> Dump:
    """Health is asked for only where it is shown."""
    from istioctl.sidecars import CLUSTERS, CONFIG, dump, find_proxy, is_proxyless, sent

    key = find_proxy(where.state_dir, workload, namespace=where.namespace_for())
    if is_proxyless(where.state_dir, key):
        return sent(where.state_dir, key)
    return dump(where.state_dir, key, CONFIG, *((CLUSTERS,) if part in ("endpoint", "all") else ()))
