"""Options that several commands take, and the record they end up in. Before or after the command is all the same."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import click

from istioctl.sources import DEEP, FLAT

DEFAULT_NAMESPACE = "default"

PATH = click.Path(exists=True, allow_dash=True, path_type=Path)
"""Something to read."""

Decorated = TypeVar("Decorated", bound=Callable[..., object])


def default_state_dir() -> Path:
    """`$ISTIO_STATE_DIR`, else `$XDG_STATE_HOME/istio` (XDG Base Directory Specification), else `~/.local/state/istio`.

    Read here and not by click: an option given before the command must win over the environment after it.
    """
    if named := os.environ.get("ISTIO_STATE_DIR"):
        return Path(named)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state") / "istio"


@dataclass(frozen=True)
class Where:
    """Which mesh is meant, and which namespace in it; `namespace` is None while the user has not said."""

    state_dir: Path
    namespace: str | None = None

    def namespace_for(self, home: str = "") -> str:
        """What the user said, else `home` (where a kind's only object lives), else the default."""
        return self.namespace or home or DEFAULT_NAMESPACE


def _so_far(context: click.Context) -> Where:
    return context.find_object(Where) or Where(default_state_dir())


def _keep_state_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """What is said later, nearer to the command, wins."""
    context.obj = replace(_so_far(context), state_dir=value) if value else _so_far(context)


def _keep_namespace(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    context.obj = replace(_so_far(context), namespace=value) if value else _so_far(context)


def state_dir_option(command: Decorated) -> Decorated:
    return click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        callback=_keep_state_dir,
        help="Where the mesh keeps its state. [env: ISTIO_STATE_DIR; default: ~/.local/state/istio]",
    )(command)


def namespace_option(command: Decorated) -> Decorated:
    return click.option(
        "-n",
        "--namespace",
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_keep_namespace,
        help="Namespace of objects that do not name one. [default: default]",
    )(command)


def files_option(command: Decorated) -> Decorated:
    return click.option(
        "-f",
        "--filename",
        "files",
        type=PATH,
        metavar="FILE|DIR|-",
        multiple=True,
        help="A file, a directory of .yaml, .yml and .json files, or - for standard input; repeatable.",
    )(command)


def recursive_option(command: Decorated) -> Decorated:
    """Comes out as the `pattern` of `read_sources`."""
    return click.option(
        "-R",
        "--recursive",
        "pattern",
        is_flag=True,
        callback=lambda context, parameter, value: DEEP if value else FLAT,
        help="Look into directories below, too.",
    )(command)


def output_option(*formats: str) -> Callable[[Decorated], Decorated]:
    """`-o`; the first format is the default."""

    def decorate(command: Decorated) -> Decorated:
        return click.option(
            "-o",
            "--output",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="How to print the result.",
        )(command)

    return decorate
