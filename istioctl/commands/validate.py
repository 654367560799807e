"""`istioctl validate`: checks files as the Manager would, without one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from istioctl.options import PATH, Where, files_option, namespace_option, output_option, recursive_option
from istioctl.output import as_json, say, show

if TYPE_CHECKING:
    from core.diagnostics import Diagnostic
    from istioctl.checking import Checked


@click.command()
@click.argument("more", metavar="[FILE|DIR|-]...", nargs=-1, type=PATH)
@files_option
@recursive_option
@output_option("text", "json")
@namespace_option
@click.pass_obj
def command(where: Where, more: tuple[Path, ...], files: tuple[Path, ...], pattern: str, output: str) -> None:
    """Check files without a mesh: rules and mesh files.

    Every finding is a line with its place, code and field. The exit code is 0 when every document is valid or only
    doubtful (warnings), 1 when one is invalid, and 2 when the command line is wrong.

    \b
    Examples:
      istioctl validate -f rule.yaml
      istioctl validate -R rules/
      cat rule.yaml | istioctl validate -o json -
    """
    from istioctl.checking import check, line_of, summary
    from istioctl.sources import read_sources

    if not (paths := (*files, *more)):
        raise click.UsageError("name a file or a directory to check, or - for standard input")
    checked = check(read_sources(paths, pattern=pattern), namespace=where.namespace_for())
    if output == "json":
        show(as_json([_verdict(each) for each in checked]))
    else:
        for found in (found for each in checked for found in each.diagnostics):
            show(line_of(found))
        say(summary(checked))
    sys.exit(any(each.verdict == "invalid" for each in checked))


def _verdict(checked: Checked) -> dict[str, object]:
    """The schema that docs/reference/istioctl.md promises: every field is always there."""
    key = checked.entry.key
    return {
        "file": checked.entry.file,
        "line": checked.entry.line,
        "group": key.group if key else "",
        "kind": key.kind if key else "",
        "namespace": key.namespace if key else "",
        "name": key.name if key else "",
        "verdict": checked.verdict,
        "diagnostics": [_diagnostic(found) for found in checked.diagnostics],
    }


def _diagnostic(found: Diagnostic) -> dict[str, object]:
    return {
        "code": found.code,
        "severity": found.severity.value,
        "message": found.message,
        "fix": found.fix,
        "field": found.origin.path if found.origin else "",
        "file": found.place.file if found.place else "",
        "line": found.place.line if found.place else 0,
        "column": found.place.column if found.place else 0,
    }
