"""`istioctl kubeconfig`: where kubectl finds the running mesh, and files with which others do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from istioctl import completing
from istioctl.durations import Duration
from istioctl.options import Where, namespace_option, output_option, state_dir_option
from istioctl.output import age, as_json, as_yaml, say, show

if TYPE_CHECKING:
    from core.manager.api.callers import Admitted

ROLES = ("viewer", "namespace", "admin")


@click.group(invoke_without_command=True)
@state_dir_option
@click.pass_context
def command(context: click.Context) -> None:
    """Print the path of the running mesh's kubeconfig, or make others.

    With it kubectl, and every other client of Kubernetes, reads and writes the rules of this mesh. The file lets in
    whoever has it: it is readable for you alone. For somebody else "create" makes one that can be taken back.

    \b
    Examples:
      istioctl kubeconfig
      istioctl kubeconfig create vera -o vera.yaml
      istioctl kubeconfig revoke vera
    """
    if context.invoked_subcommand is None:
        _path(context.find_object(Where) or Where())


def _path(where: Where) -> None:
    import sys
    from shlex import quote

    from istioctl.client import Api
    from istioctl.inviting import own

    with Api(where.state_dir) as api:
        api.release()
    path = own(where.state_dir)
    show(str(path))
    if sys.stdout.isatty():
        say(f"for this shell: export KUBECONFIG={quote(str(path))}")


@command.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default=ROLES[0],
    show_default=True,
    help="viewer reads everything; namespace reads and writes the one given with -n; admin may do everything.",
)
@click.option("--ttl", type=Duration(), help="How long it is good. [default: until it is revoked]")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    required=True,
    help="Where to write it: a new file, readable for you alone, or - for standard output.",
)
@namespace_option
@state_dir_option
@click.pass_obj
def create(where: Where, name: str, role: str, ttl: float | None, file: Path) -> None:
    """Make a kubeconfig for somebody else.

    It works at once, with kubectl and with istioctl --kubeconfig. What is done with it is noted under NAME: in the
    history of objects, and in the audit log.

    \b
    Examples:
      istioctl kubeconfig create vera -o vera.yaml
      istioctl kubeconfig create sue --role namespace -n shop --ttl 24h -o sue.yaml
    """
    import sys

    from core.manager.api.callers import Newcomer
    from istioctl.client import Api
    from istioctl.inviting import STDOUT, invite, new_file

    if (role == "namespace") != bool(where.namespace):
        raise click.UsageError(
            "--role namespace is for the one that -n names" if role == "namespace"
            else f"--role {role} is for every namespace: leave -n out, or say --role namespace"
        )  # fmt: skip
    wanted = Newcomer(name=name, role=role, namespace=where.namespace or "", ttl=ttl or 0.0)
    with Api(where.state_dir) as api:
        if file == STDOUT:
            made = invite(api, where.state_dir, wanted, to=sys.stdout.buffer)
        else:
            with new_file(file) as out:
                made = invite(api, where.state_dir, wanted, to=out)
    say(_about(made, ttl))


def _about(made: Admitted, ttl: float | None) -> str:
    caller = made.caller
    may = {"viewer": "may read everything", "admin": "may do everything"}
    until = f"for {age(ttl)}, or " if ttl else ""
    what = may.get(caller.role, f"may read and write namespace {caller.namespace}")
    return f"{caller.name} {what}, {until}until: istioctl kubeconfig revoke {caller.name}"


@command.command("list")
@output_option("table", "json", "yaml")
@state_dir_option
@click.pass_obj
def list_(where: Where, output: str) -> None:
    """Show who is let in, and as what. Never shows a token.

    \b
    Examples:
      istioctl kubeconfig list
      istioctl kubeconfig list -o json
    """
    from istioctl.client import Api
    from istioctl.inviting import listing

    with Api(where.state_dir) as api:
        found = api.callers()
    show(listing(found) if output == "table" else (as_json if output == "json" else as_yaml)(found))


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=completing.callers)
@state_dir_option
@click.pass_obj
def revoke(where: Where, names: tuple[str, ...]) -> None:
    """Let somebody in no more, at once. Watches that are open end within a second.

    \b
    Examples:
      istioctl kubeconfig revoke vera
    """
    from core.errors import Conflict, NotFound
    from istioctl.client import Api

    with Api(where.state_dir) as api:
        for name in dict.fromkeys(names):
            try:
                api.revoke(name)
            except NotFound as error:
                raise NotFound(str(error), fix="istioctl kubeconfig list shows who is let in") from error
            except Conflict as error:
                raise Conflict(str(error), fix="istioctl kubeconfig rotate") from error
            show(f"{name} revoked")


@command.command()
@state_dir_option
@click.pass_obj
def rotate(where: Where) -> None:
    """Make your own token anew, in case somebody has seen it. The file of this mesh has the new one at once.

    Copies of the file are good no more; files that "create" made stay good.

    \b
    Examples:
      istioctl kubeconfig rotate
    """
    from istioctl.client import Api
    from istioctl.inviting import own

    with Api(where.state_dir) as api:
        api.rotate()
    path = own(where.state_dir)
    say(f"the token in {path} is a new one")
