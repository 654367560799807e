"""Which mesh and which namespace a command is about."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from istioctl.cli import app
from istioctl.options import Where, default_state_dir, mesh_options, namespace_option


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("ISTIO_STATE_DIR", "ISTIO_KUBECONFIG", "KUBECONFIG", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/me/.local/state/istio"),
        ({"XDG_STATE_HOME": "/x"}, "/x/istio"),
        ({"XDG_STATE_HOME": "relative/is/ignored"}, "/home/me/.local/state/istio"),
        ({"XDG_STATE_HOME": "/x", "ISTIO_STATE_DIR": "/mine"}, "/mine"),
    ],
)
def test_the_state_directory_has_a_default(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names it, or the XDG Base Directory Specification does."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_state_dir() == Path(expected)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["show"], Where()),
        (["-n", "a", "show"], Where(namespace="a")),
        (["show", "-n", "a"], Where(namespace="a")),
        (["-n", "a", "show", "-n", "b"], Where(namespace="b")),
        (["--state-dir", "/s", "show"], Where(Path("/s"))),
        (["--state-dir", "/s", "-n", "a", "show", "--state-dir", "/t"], Where(Path("/t"), "a")),
    ],
)
def test_options_mean_the_same_before_and_after_the_command(
    args: list[str], expected: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is nearer to the command wins, and what is given wins over the environment."""
    monkeypatch.setenv("ISTIO_STATE_DIR", "/env")
    seen: list[Where] = []

    @click.command()
    @namespace_option
    @mesh_options
    @click.pass_obj
    def show(where: Where) -> None:
        seen.append(where)

    monkeypatch.setattr(type(app), "get_command", lambda *_: show)
    monkeypatch.setattr(type(app), "list_commands", lambda *_: ["show"])
    result = CliRunner().invoke(app, args)
    assert (result.exit_code, seen) == (0, [expected])
    assert seen[0].state_dir == (expected.state or Path("/env"))


@pytest.mark.parametrize(
    ("said", "home", "expected"), [(None, "", "default"), (None, "istio-system", "istio-system"), ("a", "root", "a")]
)
def test_the_namespace_is_the_users_or_the_kinds_or_the_default(said: str | None, home: str, expected: str) -> None:
    """A kind whose only object lives in one namespace is looked for there."""
    assert Where(Path("/s"), said).namespace_for(home) == expected


def test_tproxy_without_redirect_is_a_mistake(istioctl: Callable[..., Result]) -> None:
    """There is nothing that it could be a way of; said before anything is started."""
    result = istioctl("up", "mesh.yaml", "--interception", "tproxy")
    assert result.exit_code == 1
    assert "--interception TPROXY is for --capture redirect" in result.stderr
