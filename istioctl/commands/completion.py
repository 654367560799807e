"""`istioctl completion`: the script that makes a shell complete commands, options and kinds."""

import click

from istioctl.output import show

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a completion script for your shell.

    \b
    Examples:
      istioctl completion bash > ~/.local/share/bash-completion/completions/istioctl
      istioctl completion zsh > ~/.zfunc/_istioctl
      istioctl completion fish > ~/.config/fish/completions/istioctl.fish
    """
    from click.shell_completion import get_completion_class

    program = context.find_root()
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click cannot complete for {shell}")
    name = program.info_name or "istioctl"
    show(found(program.command, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE").source())
