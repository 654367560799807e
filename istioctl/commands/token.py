"""`istioctl token`: proofs of identity for workloads of other machines, made by the running Manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from istioctl.durations import Duration
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import age, as_json, say, show

if TYPE_CHECKING:
    from core.manager.api.tokens import Made, Wanted

ACTIONS = ("create",)


@click.command()
@click.argument("action", type=click.Choice(ACTIONS), metavar="|".join(ACTIONS))
@click.option("--workload", metavar="NAME", help="For this workload of the mesh, and nobody else.")
@click.option("--service-account", metavar="NAME", help="For any workload with this service account.")
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it may be used.")
@click.option("--uses", type=click.Choice(("1", "unlimited")), default="1", show_default=True, help="How often.")
@output_option("text", "json")
@namespace_option
@mesh_options
@click.pass_obj
def command(
    where: Where, action: str, workload: str | None, service_account: str | None, ttl: float, uses: str, output: str
) -> None:
    """Make a join token.

    Whoever presents it gets a certificate for that identity, so keep it secret: it goes to stdout, alone. A token
    that is good for one use is refused the second time, also after the Manager was restarted.

    \b
    Examples:
      istioctl token create --workload reviews-v1
      istioctl token create --service-account ci -n build --ttl 10m
      istioctl token create --service-account nodes --uses unlimited --ttl 24h -o json
    """
    from core.manager.api.tokens import Wanted

    if (workload is None) == (service_account is None):
        raise click.UsageError("name either a --workload or a --service-account")
    whom = {"workload": workload or "", "service_account": service_account or ""}
    made = _made(where, Wanted(namespace=where.namespace_for(), **whom, ttl=ttl, uses=uses))
    if output == "json":
        show(as_json(made))
    else:
        show(made.token)
        say(_about(made, ttl))


def _made(where: Where, wanted: Wanted) -> Made:
    with where.api() as api:
        return api.create_token(wanted)


def _about(made: Made, ttl: float) -> str:
    often = "once" if made.uses == "1" else "any number of times"
    return f"good for {made.identity}, {often}, within {age(ttl)}"
