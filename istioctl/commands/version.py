"""`istioctl version`: what is installed here, and what the running Manager is."""

import click

from core.errors import Unavailable
from istioctl.options import Where, mesh_options
from istioctl.output import as_json, as_yaml, say, show


@click.command()
@click.option("--short", is_flag=True, help="Only the numbers.")
@click.option("-o", "--output", type=click.Choice(("json", "yaml")), help="How to print the result.")
@mesh_options
@click.pass_obj
def command(where: Where, short: bool, output: str | None) -> None:
    """Show the version of istioctl, and of the Manager if one runs.

    \b
    Examples:
      istioctl version
      istioctl version --short
      istioctl version -o json
    """
    from core.manager.api.release import installed

    versions = {"client": installed()} | _manager(where)
    if output:
        show((as_json if output == "json" else as_yaml)(versions))
    else:
        for name, version in versions.items():
            show(version if short else f"{name} version: {version}")


def _manager(where: Where) -> dict[str, str]:
    """Empty when none runs: that is an answer, not a failure."""

    try:
        with where.api() as api:
            return {"manager": api.release().git_version.removeprefix("v")}
    except Unavailable as error:
        say(str(error))
        return {}
