"""What is installed and what is committed: locks, entry points, and nothing that only one machine has."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

LOCKS = ("runtime.txt", "dev.txt")
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==", re.MULTILINE)

COLLIDES = re.compile(r"opentelemetry-.*|googleapis-common-protos|grpcio-status|python-consul")
"""Distributions that own files of `xds-protos` (or of each other); installing both leaves one of them broken."""

# Written in pieces, so that this file does not name what no file may name.
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "crates" + ".io", "proxy.go" + "lang.org")
PLACES = re.compile("(?<![A-Za-z0-9_.-])/(?:work/(?:main|shared|[.]library)|tmp/ve|ro" + "ot/)")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def pins(root: Path, lock: str) -> set[str]:
    return set(PIN.findall((root / "requirements" / lock).read_text()))


def bare(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_nothing_that_collides(root: Path, lock: str) -> None:
    """xds-protos ships opentelemetry/, google/api, google/rpc: nothing else may bring the same files."""
    assert [name for name in pins(root, lock) if COLLIDES.fullmatch(name)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_are_hashed(root: Path, lock: str) -> None:
    """Every pin is followed by hashes, and nothing says where files come from."""
    text = (root / "requirements" / lock).read_text()
    entries = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
    assert entries
    assert [entry for entry in entries if not (PIN.match(entry) and entry.endswith("\\"))] == []
    assert not re.search(r"^\s*--(?!hash=)|https?:|file:", text, re.MULTILINE)


def test_locks_cover_what_the_project_asks_for(root: Path, project: dict[str, Any]) -> None:
    """A dependency added to pyproject.toml without `make lock` is noticed here, not on a fresh machine."""
    runtime = {bare(name) for name in project["project"]["dependencies"]}
    dev = {bare(name) for name in project["project"]["optional-dependencies"]["dev"]}
    assert runtime - pins(root, "runtime.txt") == set()
    assert dev - pins(root, "dev.txt") == set()
    assert pins(root, "runtime.txt") <= pins(root, "dev.txt")


def test_the_lock_can_build(root: Path, project: dict[str, Any]) -> None:
    """What builds the package is pinned too: `make setup` installs without build isolation."""
    needed = {bare(name) for name in project["build-system"]["requires"]} | {"editables"}
    assert needed <= pins(root, "dev.txt")


def test_the_five_folders_are_the_packages(project: dict[str, Any], packages: tuple[str, ...]) -> None:
    """The wheel holds the five folders under their own names."""
    target = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert target == {"packages": list(packages)}


def test_entry_points_lead_to_modules(root: Path, project: dict[str, Any]) -> None:
    """Each command, platform, pass, adapter and plugin that we register names a module that is there."""
    groups: dict[str, dict[str, str]] = project["project"]["entry-points"]
    assert {"istio.platforms", "istio.policy_passes", "istio.adapters"} <= set(groups)
    targets = [target for group in (*groups.values(), project["project"]["scripts"]) for target in group.values()]
    assert [target for target in targets if not module_exists(root, target.partition(":")[0])] == []


def module_exists(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_nothing_committed_names_a_machine_or_a_registry(root: Path, tracked: tuple[Path, ...]) -> None:
    """A clone works anywhere: no path of somebody's machine, no address that packages came from."""
    found = [f"{path.relative_to(root)}:{number}" for path in tracked for number in machine_bound_lines(path)]
    assert not found, "\n".join(found)


def machine_bound_lines(path: Path) -> list[int]:
    lines = path.read_text(errors="replace").splitlines()
    return [n for n, line in enumerate(lines, 1) if PLACES.search(line) or any(host in line for host in HOSTS)]


@pytest.mark.parametrize("line", ["see https://" + HOSTS[0] + "/simple", "cd /" + "work/main", "open('/ro" + "ot/x')"])
def test_machine_bound_lines_are_noticed(tmp_path: Path, line: str) -> None:
    """The check above can fail."""
    page = tmp_path / "page.md"
    page.write_text(f"fine, /network/main\n{line}\n")
    assert machine_bound_lines(page) == [2]


def test_the_one_test_command(root: Path) -> None:
    """CI ends with the command that the README tells a stranger to run, and prints nothing after it."""
    last = (root / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert last.startswith("exec ")
    assert last.endswith(" make test")
    assert "$ make test\n" in (root / "README.md").read_text()
