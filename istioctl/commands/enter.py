"""`istioctl enter`: one more program where a workload runs, to see what it sees."""

import os

import click

from core.errors import NotFound
from istioctl import completing
from istioctl.options import Where, namespace_option, state_dir_option


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("workload", shell_complete=completing.sidecars)
@click.argument("program", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, workload: str, program: tuple[str, ...]) -> None:
    """Run a command where a workload runs, as it would.

    With capture redirect: in its pod, where the kernel leads all calls into its sidecar. With capture none: here, with
    the environment of its command, where http_proxy names the sidecar. WORKLOAD is a name, or name.namespace. Without
    COMMAND it is a shell. Files and the working directory are yours; the exit code is that of the command.

    \b
    Examples:
      istioctl enter client-shell
      istioctl enter client-shell -- curl -s http://reviews:9080/
      istioctl enter reviews-v1 -- env
    """
    from istioctl.entering import place
    from istioctl.sidecars import find_sidecar

    found = place(where.state_dir, find_sidecar(where.state_dir, workload, namespace=where.namespace_for()))
    program = program[1:] if program[:1] == ("--",) else program
    words = (*found.within, *(program or (os.environ.get("SHELL") or "sh",)))
    try:
        os.execvpe(words[0], words, {**os.environ, **found.environment})
    except OSError as error:
        raise NotFound(f"{words[0]} cannot be run: {error.strerror}", fix="name a program that is on $PATH") from error
