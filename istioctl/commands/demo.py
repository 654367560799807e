"""`istioctl demo`: a real mesh on this machine in one command, with traffic to look at; or the proof that it works."""

from __future__ import annotations

import click

from istioctl.options import Where, output_option, state_dir_option


@click.command()
@click.option(
    "--capture",
    type=click.Choice(("auto", "none", "redirect")),
    default="auto",
    show_default=True,
    help="How traffic gets into the sidecars. redirect needs namespaces; auto takes it where it works.",
)
@click.option("--check", is_flag=True, help="Prove with calls of its own that all of it works, and end.")
@click.option(
    "--managers", type=click.IntRange(1, 9), default=1, show_default=True, help="Managers that share the proxies."
)
@click.option("--keep", is_flag=True, help="Keep applied rules in the state directory for the next start.")
@click.option(
    "--duration", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="End by itself after this."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1, max=1000),
    default=20,
    show_default=True,
    help="Pages a second that the built-in load asks for.",
)
@click.option("--no-load", is_flag=True, help="No built-in load: only calls of your own.")
@click.option("--plain", is_flag=True, help="Plain lines also on a terminal. Elsewhere it is so by itself.")
@click.option("--envoy", metavar="PATH", default="", help="The Envoy to run. [env: ISTIO_ENVOY]")
@output_option("table", "json")
@state_dir_option
@click.pass_obj
def command(where: Where, /, check: bool, no_load: bool, plain: bool, output: str, **asked: object) -> int:
    """Run a real mesh with traffic on it, until Ctrl-C.

    Bookinfo: four services in six versions, each behind a real Envoy, a Manager, and a light load. The table shows what
    the sidecars count. It names three commands for a second terminal that change where calls go. Needs no root.

    With --check it proves, call by call, that the mesh does what it says, and the exit code is 0 or 1.

    \b
    Examples:
      istioctl demo
      istioctl demo --check --capture none
      istioctl demo --rate 5 --duration 60 -o json
    """
    import asyncio

    import msgspec

    from istioctl.demo.proof.run import check as prove
    from istioctl.demo.screen import screen
    from istioctl.demo.settings import Settings
    from istioctl.demo.show import Show, run

    given = {**asked, "state": where.state_dir.absolute(), "rate": 0.0 if no_load else asked["rate"]}
    settings = msgspec.convert(given, Settings)
    if check:
        return asyncio.run(prove(settings, form="json" if output == "json" else "text"))
    with screen("json" if output == "json" else "plain" if plain else "table") as found:
        asyncio.run(run(settings, found, beside=Show(settings, found).run))
    return 0
