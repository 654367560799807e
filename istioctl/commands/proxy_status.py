"""`istioctl proxy-status`: whether the proxies have what the Manager sends them, and what they refuse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from istioctl import completing
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import as_json, as_yaml, say, show

if TYPE_CHECKING:
    from core.manager.status import MeshStatus


@click.command()
@click.argument("workload", required=False, shell_complete=completing.proxies)
@output_option("table", "json", "yaml")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, workload: str | None, output: str) -> None:
    """Show whether the proxies have what the Manager sends them.

    SYNCED: the proxy has accepted the newest. STALE: it has not answered yet. NOT SENT: it never asked for this type.
    REFUSED: it would not take a part, and lives on what it had before. With WORKLOAD (name, or name.namespace)
    everything about one proxy: what it refused, Envoy's reason, and the document behind it.

    The exit code is 0 whatever the proxies have; scripts read "synced" from -o json.

    \b
    Examples:
      istioctl proxy-status
      istioctl ps reviews-v1
      istioctl proxy-status -o json
    """
    with where.api() as api:
        status = api.status()
    if workload:
        _one(status, workload, namespace=where.namespace_for(), output=output)
    else:
        _all(status, output=output)


def _one(status: MeshStatus, name: str, *, namespace: str, output: str) -> None:
    from istioctl.delivery import as_value, details
    from istioctl.workloads import which

    key = which(name, (each.workload for each in status.proxies), namespace=namespace)
    (proxy,) = (each for each in status.proxies if each.workload == key)
    if output == "table":
        show(details(proxy, status.held, now=time.time()))
    else:
        show(_text(as_value(proxy, status.held), output))


def _all(status: MeshStatus, *, output: str) -> None:
    from istioctl.delivery import SAME_WAY, as_value, not_connected, overview

    if output != "table":
        show(_text([as_value(each, status.held) for each in status.proxies], output))
    elif status.proxies:
        show(overview(status, now=time.time()))
        if status.absent and not status.silent:
            say(not_connected(status.absent))
        for number in status.silent:
            say(f"manager/{number} does not answer: proxies that are there are not shown, and leave it in some seconds")
        for misled in (each for each in status.proxies if each.misled):
            say(f"{misled.workload}: {misled.misled}; {SAME_WAY}")
        for each in status.held:
            say(f"{each.document} is out of force: istioctl proxy-status {each.workload} shows why")
    else:
        say("no proxy is connected")
        if status.absent:
            say(not_connected(status.absent))


def _text(value: object, output: str) -> str:
    return (as_json if output == "json" else as_yaml)(value)
