"""`istioctl up`: a mesh on this machine, from one file."""

from pathlib import Path

import click

from istioctl.options import Where, state_dir_option


@click.command()
@click.argument("mesh_file", type=click.Path(path_type=Path), metavar="MESH_FILE")
@click.option("--slot", type=click.IntRange(0, 7), help="Which loopback addresses to use. [default: the first free]")
@click.option(
    "--capture",
    type=click.Choice(["auto", "redirect", "none"]),
    default="none",
    show_default=True,
    help="How calls get into proxies: led there by the kernel (redirect), or as applications choose (none).",
)
@click.option(
    "--interception",
    type=click.Choice(["REDIRECT", "TPROXY"], case_sensitive=False),
    metavar="[REDIRECT|TPROXY]",
    default="REDIRECT",
    show_default=True,
    help="With capture redirect. TPROXY: applications see the addresses of their callers.",
)
@click.option(
    "--managers", type=click.IntRange(1, 9), default=1, show_default=True, help="Managers that share the proxies."
)
@click.option("--keep", is_flag=True, help="Keep applied rules in the state directory for the next start.")
@click.option("--envoy", metavar="PATH", default="", help="The Envoy to run. [env: ISTIO_ENVOY]")
@click.option("--certificate-lifetime", type=float, hidden=True, help="Seconds; short ones make a fault seen sooner.")
@click.option("--stream-age", type=float, hidden=True, help="Seconds; the same for streams from the Manager.")
@state_dir_option
@click.pass_obj
def command(where: Where, /, mesh_file: Path, capture: str, **asked: object) -> None:
    """Run the mesh that MESH_FILE describes, until Ctrl-C.

    Starts a Manager, and for every workload its command and a real Envoy beside it. Editing the file changes the
    running mesh. Needs no root. docs/reference/mesh-file.md describes the file.

    \b
    Examples:
      istioctl up mesh.yaml
      istioctl up examples/bookinfo/mesh.yaml --keep
      istioctl --state-dir /tmp/other up other.yaml
    """
    import asyncio

    import msgspec

    from core.errors import Misconfigured
    from istioctl.local.capture import chosen
    from istioctl.local.run import Options, up
    from istioctl.local.talk import Talk

    talk = Talk()
    given = {name: value for name, value in asked.items() if value is not None}
    if capture == "none" and asked["interception"] == "TPROXY":
        raise Misconfigured("--interception TPROXY is for --capture redirect", fix="give --capture redirect as well")
    told = {"mesh_file": mesh_file, "state": where.state_dir.absolute(), "capture": chosen(capture, talk)}
    asyncio.run(up(msgspec.convert({**given, **told}, Options), talk))
