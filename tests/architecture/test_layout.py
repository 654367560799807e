"""Where things stand and how large they get: the part of the house style that can be counted."""

import ast
import re
from pathlib import Path

import pytest

LONGEST_FILE = 400
LONGEST_TEST = 700
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
NOT_PACKAGES = {"tests", "docs", "examples", "requirements", "changelog.d"}

LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"")


def test_every_top_level_folder_has_a_place(root: Path, packages: tuple[str, ...], tracked: tuple[Path, ...]) -> None:
    """At the top there are the five packages and the known folders beside them; a new one has to be decided on."""
    folders = {path.relative_to(root).parts[0] for path in tracked if path.parent != root}
    strange = {name for name in folders if not name.startswith(".")} - {*packages, *NOT_PACKAGES}
    assert not strange


def test_every_folder_of_a_package_is_a_package_with_a_purpose(sources: tuple[Path, ...]) -> None:
    """Each folder has an __init__.py, and each module opens by saying why it exists."""
    missing = {path.parent for path in sources} - {path.parent for path in sources if path.name == "__init__.py"}
    silent = [path for path in sources if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not missing
    assert not silent


def test_packages_say_that_they_are_typed(root: Path, packages: tuple[str, ...]) -> None:
    """Whoever installs us gets our annotations (PEP 561)."""
    assert [name for name in packages if not (root / name / "py.typed").is_file()] == []


def test_tests_are_not_a_package(root: Path) -> None:
    """No __init__.py under tests/: pytest imports files by path, so that two kinds of tests may share a file name."""
    assert list((root / "tests").rglob("__init__.py")) == []


def test_names_say_something(sources: tuple[Path, ...]) -> None:
    """No module is called after the fact that it holds things, and none repeats its folder's name."""
    empty = [path for path in sources if EMPTY_NAMES & {path.stem, path.parent.name}]
    repeated = [path for path in sources if repeats_its_folder(path)]
    assert not empty
    assert not repeated


def repeats_its_folder(path: Path) -> bool:
    first, *rest = path.stem.split("_")  # pytest wants test_ in front
    return bool(rest) and first != "test" and path.parent.name in (first, rest[-1])


def test_files_stay_small(root: Path, tracked: tuple[Path, ...]) -> None:
    """A Python file above 400 lines has two purposes; find the seam. A table of small tests may be longer."""
    lengths = {p.relative_to(root): len(p.read_text().splitlines()) for p in tracked if p.suffix == ".py"}
    limits = {name: LONGEST_TEST if name.parts[0] == "tests" else LONGEST_FILE for name in lengths}
    assert {str(name): lines for name, lines in lengths.items() if lines > limits[name]} == {}


def test_documents_link_to_what_is_here(root: Path, tracked: tuple[Path, ...]) -> None:
    """Every link in the documents leads to a file in this repository: a clone is all a reader needs."""
    pages = [path for path in tracked if path.suffix in {".md", ".svg"}]
    links = [(page, target) for page in pages for pair in LINK.findall(page.read_text()) for target in pair if target]
    assert links
    broken = [(page, target) for page, target in links if not leads_somewhere(root, page, target)]
    assert not broken, "\n".join(f"{page.relative_to(root)}: {target}" for page, target in broken)


def leads_somewhere(root: Path, page: Path, target: str) -> bool:
    path, _, _ = target.partition("#")
    if not path:
        return True
    found = (page.parent / path).resolve()
    return found.is_relative_to(root) and found.exists()


@pytest.mark.parametrize("target", ["https://example.org/", "../../outside.md", "gone.md"])
def test_links_that_lead_nowhere_are_noticed(root: Path, target: str) -> None:
    """The check above can fail."""
    assert not leads_somewhere(root, root / "docs" / "index.md", target)
