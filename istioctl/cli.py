"""The entry point: finds the command, and turns every expected failure into two lines and an exit code.

Commands are named in a table and imported when they are used, so that starting costs what one command needs.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from typing import Any, NamedTuple

import click

from core.errors import MeshError
from istioctl import output
from istioctl.options import mesh_options, namespace_option
from proxy.early import INTERRUPTED


class Entry(NamedTuple):
    """A command: `istioctl.commands.<name>.command`, with `_` for `-`. Entries of one section stand together.

    `alias` is the short name that Istio's users know, "" for none.
    """

    section: str
    name: str
    summary: str
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {self.alias}" if self.alias else self.name


COMMANDS: tuple[Entry, ...] = (
    Entry("Run a mesh", "demo", "Run a real mesh with traffic on it, until Ctrl-C"),
    Entry("Run a mesh", "up", "Run the mesh that MESH_FILE describes, until Ctrl-C"),
    Entry("Run a mesh", "enter", "Run a command where a workload runs, as it would"),
    Entry("Run a mesh", "token", "Make a join token"),
    Entry("Run a mesh", "kubeconfig", "Print the path of the running mesh's kubeconfig, or make others"),
    Entry("Write rules", "apply", "Create or change objects from files"),
    Entry("Write rules", "create", "Create objects from files"),
    Entry("Write rules", "replace", "Change objects from files"),
    Entry("Write rules", "edit", "Change an object in your editor"),
    Entry("Write rules", "diff", "Show how stored objects differ from files"),
    Entry("Write rules", "get", "Show objects"),
    Entry("Write rules", "delete", "Remove objects"),
    Entry("Write rules", "history", "Show who changed an object when, and what"),
    Entry("Write rules", "rollback", "Make an object again what it was"),
    Entry("Write rules", "shift", "Send shares of a service's calls to its versions"),
    Entry("Find mistakes", "check", "Find what is wrong with this machine or mesh"),
    Entry("Find mistakes", "validate", "Check files without a mesh: rules and mesh files"),
    Entry("Find mistakes", "describe", "Show one object with all that is known of it"),
    Entry("Find mistakes", "status", "Show which proxies have acknowledged objects"),
    Entry("Find mistakes", "proxy-status", "Show whether the proxies have what the Manager sends them", "ps"),
    Entry("Find mistakes", "proxy-config", "Show what a proxy lives on", "pc"),
    Entry("This tool", "version", "Show the version of istioctl, and of the Manager if one runs"),
    Entry("This tool", "completion", "Print a completion script for your shell"),
)

START_HERE = """Start here:
  istioctl demo                  a mesh with traffic, and three things to try
  istioctl up mesh.yaml          a mesh of your own on this machine, until Ctrl-C
  istioctl apply -f rule.yaml    in a second terminal: change where calls go
  istioctl COMMAND --help        examples for every command"""


class UnknownCommand(click.UsageError):
    """Says which command was probably meant."""

    def __init__(self, name: str, context: click.Context) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, [name for entry in COMMANDS for name in (entry.name, entry.alias) if name])
        meant = f'; did you mean "{near[0]}"?' if near else ""
        super().__init__(f'unknown command "{name}"{meant}', context)


class Istioctl(click.Group):
    """A group whose commands come from `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self._aliases().get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        found: click.Command = import_module(f"istioctl.commands.{name.replace('-', '_')}").command
        return found

    def _aliases(self) -> dict[str, str]:
        return {entry.alias: entry.name for entry in COMMANDS if entry.alias}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = (*self.list_commands(ctx), *self._aliases())
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in known:
            raise UnknownCommand(args[0], ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, entries in groupby(COMMANDS, key=lambda entry: entry.section):
            with formatter.section(section):
                formatter.write_dl([(str(entry), entry.summary) for entry in entries])

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click's, with our failures and exit codes. The signature is click's, and as loose."""
        extra["standalone_mode"] = False
        sys.exit(_exit_code(lambda: super(Istioctl, self).main(*args, **extra)))


def _exit_code(program: Callable[[], object]) -> int:
    try:
        code = program()
    except MeshError as error:
        output.complain_of(error)
        return 1
    except click.ClickException as error:
        output.complain(error.format_message(), fix=_help_for(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _help_for(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help shows how it is used" if isinstance(context, click.Context) else ""


@click.group(
    cls=Istioctl,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\n" + START_HERE,
)
@mesh_options
@namespace_option
@click.pass_context
def app(context: click.Context) -> None:
    """A service mesh for workloads of any kind: run one here, and write its rules."""
    if context.invoked_subcommand is None:
        output.show(context.get_help())


def main() -> None:
    """The console script."""
    app.main(prog_name="istioctl")
