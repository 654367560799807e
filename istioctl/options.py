"""Options that several commands take, and the record they end up in. Before or after the command is all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from istioctl.sources import DEEP, FLAT

if TYPE_CHECKING:
    from istioctl.client import Api
    from istioctl.contexts import Chosen

DEFAULT_NAMESPACE = "default"

ELSEWHERE = "this works on the machine where the mesh runs: name its --state-dir, not a --kubeconfig or --context"


class _Readable(click.Path):
    """Not an address: what the network says today is not what somebody has looked at."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if "://" in str(value):
            self.fail(f"{value} is a URL, and only files are read: curl -fsSL {value} | istioctl ... -f -", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Readable(exists=True, allow_dash=True, path_type=Path)
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
    """Which mesh is meant, and which namespace in it, as far as the user has said so.

    `state` is a state directory of this machine; `kubeconfig` and `context` name a mesh anywhere. Not both.
    """

    state: Path | None = None
    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str = ""

    @property
    def state_dir(self) -> Path:
        return self.state or default_state_dir()

    @cached_property
    def chosen(self) -> Chosen | None:
        """The context that is meant; None for the mesh of the state directory. Raises `MeshError`."""
        if not self.is_elsewhere:
            return None
        from istioctl.contexts import choose, looked_in

        return choose(looked_in(self._kubeconfig), self.context)

    @property
    def is_elsewhere(self) -> bool:
        return self.state is None and bool(self._kubeconfig or self.context)

    @property
    def _kubeconfig(self) -> Path | None:
        named = os.environ.get("ISTIO_KUBECONFIG")
        return self.kubeconfig or (Path(named) if named else None)

    def api(self, *, timeout: float | None = None) -> Api:
        """A client of that mesh. `timeout` in seconds for each answer. Raises `MeshError` for a bad kubeconfig."""
        from istioctl.client import PATIENCE, Api

        return Api(self.chosen.way() if self.chosen else self.state_dir, timeout=timeout or PATIENCE)

    def namespace_for(self, home: str = "") -> str:
        """What the user said, else `home` (where a kind's only object lives), else the context's, else the default."""
        return self.namespace or home or self.own_namespace

    @property
    def own_namespace(self) -> str:
        """Where an object is when nobody says so: the context's, else the default."""
        return (self.chosen.context.namespace if self.chosen else "") or DEFAULT_NAMESPACE

    def said(self) -> tuple[str, ...]:
        """Words by which a command is about the same mesh."""
        if self.is_elsewhere:
            file = ("--kubeconfig", str(self._kubeconfig)) if self._kubeconfig else ()
            return (*file, *(("--context", self.context) if self.context else ()))
        return () if self.state_dir == default_state_dir() else ("--state-dir", str(self.state_dir))

    def here(self) -> Where:
        """The same on this machine. Raises `UsageError` when the user named a mesh elsewhere."""
        if self.kubeconfig or self.context:
            raise click.UsageError(ELSEWHERE)
        return replace(self, state=self.state_dir)


def _so_far(context: click.Context) -> Where:
    return context.find_object(Where) or Where()


def _keep(about: click.Context, /, **said: object) -> None:
    """What is said later, nearer to the command, wins."""
    where = replace(_so_far(about), **{name: value for name, value in said.items() if value})  # type: ignore[arg-type]
    if where.state and (where.kubeconfig or where.context):
        raise click.UsageError("--state-dir is one mesh, --kubeconfig or --context another: leave one out")
    about.obj = where


def _keep_state_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    _keep(context, state=value)


def _keep_namespace(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    _keep(context, namespace=value)


def _keep_kubeconfig(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    _keep(context, kubeconfig=value)


def _keep_context(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    _keep(context, context=value)


def _keep_here(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    _keep(context, state=value)
    context.obj = _so_far(context).here()


def mesh_options(command: Decorated) -> Decorated:
    """For commands that ask a Manager, wherever it is."""
    for option in (_context_option, _kubeconfig_option, _state_dir(_keep_state_dir)):
        command = option(command)
    return command


def state_dir_option(command: Decorated) -> Decorated:
    """For commands that need the machine where the mesh runs: they know the others, to say so."""
    for name in ("--context", "--kubeconfig"):
        command = click.option(name, hidden=True, expose_value=False, is_eager=True, callback=_keep_off)(command)
    return _state_dir(_keep_here)(command)


def _keep_off(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(ELSEWHERE)


def _state_dir(keep: Callable[[click.Context, click.Parameter, Path | None], None]) -> Callable[[Decorated], Decorated]:
    return click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        callback=keep,
        help="Where the mesh keeps its state. [env: ISTIO_STATE_DIR; default: ~/.local/state/istio]",
    )


def _kubeconfig_option(command: Decorated) -> Decorated:
    return click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_keep_kubeconfig,
        help="Instead of a state directory: the mesh that this file describes. [env: ISTIO_KUBECONFIG]",
    )(command)


def _context_option(command: Decorated) -> Decorated:
    return click.option(
        "--context",
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_keep_context,
        shell_complete=_contexts,
        help="Which context of it, or of kubectl's kubeconfig. [default: the current one]",
    )(command)


def _contexts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Nothing where there is no kubeconfig: a prompt is no place for an error."""
    from core.errors import MeshError
    from istioctl.contexts import looked_in, read

    try:
        config = read(looked_in(_so_far(context)._kubeconfig))
    except MeshError:
        return []
    return sorted(name for name in config.contexts if name.startswith(incomplete))


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
