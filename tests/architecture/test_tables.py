"""Tables are explicit; these tests notice what somebody wrote and forgot to enter."""

import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import click
import pytest

import core.kinds
from core.kinds.kind import Kind
from core.kinds.registry import KINDS
from istioctl import cli


def kinds_written() -> list[Kind]:
    """Every `Kind` that stands at the top of a module under core.kinds."""
    found = pkgutil.walk_packages(core.kinds.__path__, prefix="core.kinds.")
    modules = [importlib.import_module(info.name) for info in found]
    return [value for module in modules for value in vars(module).values() if isinstance(value, Kind)]


def test_every_kind_is_in_the_table() -> None:
    """A kind of config that is written is also offered."""
    written = {(kind.group, kind.kind) for kind in kinds_written()}
    assert written
    assert written == {(kind.group, kind.kind) for kind in KINDS}


@pytest.mark.parametrize("attribute", ["kind", "plural"])
def test_kinds_can_be_told_apart(attribute: str) -> None:
    """No two kinds of one group answer to the same name."""
    counted = Counter((kind.group, getattr(kind, attribute)) for kind in KINDS)
    assert [name for name, times in counted.items() if times > 1] == []


def test_every_command_is_in_the_table(root: Path) -> None:
    """Each file under istioctl/commands is a command that people can call, and each name they can call is there."""
    group = next(value for value in vars(cli).values() if isinstance(value, click.Group))
    context = click.Context(group)
    offered = {name: group.get_command(context, name) for name in group.list_commands(context)}
    files = {path.stem.replace("_", "-") for path in (root / "istioctl" / "commands").glob("[!_]*.py")}
    assert files
    assert files == {name for name, command in offered.items() if command is not None}
    assert set(offered) == files


def test_every_layer_is_in_the_drawing(root: Path) -> None:
    """The architecture's picture of `core` and the contract of import-linter name the same packages."""
    contract = (root / ".importlinter").read_text().partition("[importlinter:contract:core]")[2].partition("\n\n")[0]
    layers = contract.partition("layers =")[2].replace("|", " ").replace("(", " ").replace(")", " ").split()
    drawing = (root / "docs" / "architecture.md").read_text().partition("### Who may import whom")[2].split("```")[1]
    assert layers
    assert [name for name in layers if name not in drawing.split()] == []
