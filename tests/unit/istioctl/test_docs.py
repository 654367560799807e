"""What the documents say about istioctl is so."""

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from istioctl.cli import COMMANDS, app

Run = Callable[..., Result]

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
HOW_TO = (DOCS / "how-to" / "first-rule.md").read_text()
REFERENCE = (DOCS / "reference" / "istioctl.md").read_text()
READMES = (ROOT / "README.md", ROOT / "examples" / "bookinfo" / "README.md")
WALKS = "\n".join(page.read_text() for page in (*READMES, *sorted((DOCS / "how-to").glob("*.md"))))
COMMAND_LINE = re.compile(r"^\$ (?:\.venv/bin/)?istioctl (.*?)(?: +#.*)?$", re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def command(name: str) -> click.Command:
    found = app.get_command(click.Context(app), name)
    assert found
    return found


def test_the_rule_of_the_how_to_is_valid(istioctl: Run) -> None:
    """What readers copy works."""
    (rule,) = blocks(HOW_TO, "yaml")
    assert istioctl("validate", "-", stdin=rule).exit_code == 0


def test_the_mistake_of_the_how_to_is_reported_as_printed(
    istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output in the text is the output."""
    (rule,) = blocks(HOW_TO, "yaml")
    monkeypatch.chdir(tmp_path)
    Path("rule.yaml").write_text(rule.replace("hosts:", "hostz:"))
    result = istioctl("validate", "-f", "rule.yaml")
    assert result.stdout + result.stderr in HOW_TO
    assert result.stdout in REFERENCE


@pytest.mark.parametrize("line", COMMAND_LINE.findall(REFERENCE + WALKS))
def test_command_lines_in_the_documents_parse(line: str, parse: Callable[[str], str]) -> None:
    """Every command and option that is shown exists, and every file of the examples that is named."""
    assert parse(line) in [entry.name for entry in COMMANDS]
    named = [word for word in line.split() if word.startswith("examples/")]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("name", [entry.name for entry in COMMANDS])
def test_the_reference_knows_every_command_and_option(name: str) -> None:
    """Each command has a section, and each long option is mentioned there or among those of all commands."""
    section = REFERENCE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    common = REFERENCE.partition("\n## apply\n")[0]
    options = [
        opt
        for parameter in command(name).params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for opt in parameter.opts
    ]
    long = {opt for opt in options if opt.startswith("--")} - {"--filename", "--recursive", "--output"}
    assert section
    assert {opt for opt in long if opt not in section + common} == set()
