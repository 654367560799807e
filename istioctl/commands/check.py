"""`istioctl check`: what is wrong with this machine or with the running mesh, and how to mend it."""

from __future__ import annotations

import click

from istioctl.options import Where, output_option, state_dir_option
from istioctl.output import say, show


@click.command()
@click.option(
    "--capture",
    type=click.Choice(("auto", "none", "redirect")),
    default="auto",
    show_default=True,
    help="How traffic is to be captured. auto: what redirect lacks is no failure.",
)
@click.option("--envoy", metavar="PATH", default="", help="The Envoy to run. [env: ISTIO_ENVOY]")
@output_option("text", "short", "json")
@state_dir_option
@click.pass_obj
def command(where: Where, capture: str, envoy: str, output: str) -> int:
    """Find what is wrong with this machine or mesh.

    Looks at this machine, at the state directory, and, if a mesh runs with it, at its Manager, proxies, certificates
    and documents. Changes nothing. The exit code is 1 when something will not work; a doubt (‼) is not enough
    for that. With -o short only what is wrong is printed.

    \b
    Examples:
      istioctl check
      istioctl check --capture redirect
      istioctl check -o json
    """
    from istioctl.checks import report
    from istioctl.checks.all import Wanted, look
    from istioctl.checks.verdict import Outcome, worst

    found = look(Wanted(state=where.state_dir.absolute(), capture=capture, envoy=envoy))  # type: ignore[arg-type]
    if output == "json":
        show(report.json(found))
    elif text := (report.short if output == "short" else report.text)(found):
        show(text)
    if output == "text":
        say(f"\n{report.summary(found)}")
    return int(worst(found) is Outcome.FAILED)
