"""The tree as data: its files and who imports what, read with `ast`: nothing has to be imported to be judged."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "platforms", "proxy", "mixer", "istioctl")
LOOK_TWICE = 25
"""Lines of a function above which the house style (CONTRIBUTING.md) asks for a second look."""


@dataclass(frozen=True)
class Import:
    """One import statement: the module it stands in, and the module or name it asks for, dotted in full."""

    module: str
    target: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.module} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def imports_of(path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text())):
        for target in imported_names(node):
            yield Import(module_name(path), target, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")


def package_files() -> tuple[Path, ...]:
    return tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def packages() -> tuple[str, ...]:
    return PACKAGES


@pytest.fixture(scope="session")
def sources() -> tuple[Path, ...]:
    """Every Python file that is shipped."""
    return package_files()


@pytest.fixture(scope="session")
def imports(sources: tuple[Path, ...]) -> tuple[Import, ...]:
    """Every import statement that is shipped, those inside functions included."""
    return tuple(found for path in sources for found in imports_of(path))


@pytest.fixture(scope="session")
def tracked(root: Path) -> tuple[Path, ...]:
    """Every file that is, or would be, committed. Needs a git checkout."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(path for name in sorted(set(names)) if name and (path := root / name).is_file())


def long_functions() -> Iterator[tuple[int, str]]:
    for path in package_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > LOOK_TWICE:
                    yield length, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A reminder, not a verdict: the longest functions, for whoever reviews next."""
    found = sorted(long_functions(), reverse=True)
    if found:
        terminalreporter.write_sep("-", f"house style: {len(found)} functions over {LOOK_TWICE} lines, the longest")
        for length, where in found[:5]:
            terminalreporter.write_line(f"{length:4} lines  {where}")
