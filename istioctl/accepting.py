"""From files to objects that may be sent: every document is checked here first, and everything found is said."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import click

from core.errors import Conflict, Misconfigured, NotFound
from istioctl.applying import Step, Wanted, rehearse, wanted_of
from istioctl.checking import Checked, check, line_of
from istioctl.client import Api
from istioctl.options import Where
from istioctl.output import say
from istioctl.sources import read_sources

MANY: Final = 500
"""Objects of which a person would notice that they take their time."""


def accepted(files: tuple[Path, ...], where: Where, *, pattern: str) -> tuple[Wanted, ...]:
    """Shows every finding. Raises `Misconfigured` when a document is wrong, or there is none."""
    if not files:
        raise click.UsageError("name a file or a directory with -f, or -f - for standard input")
    sources = read_sources(files, pattern=pattern)
    checked = check(sources, namespace=where.namespace_for())
    if not checked:
        names = ", ".join(source.name for source in sources)
        raise Misconfigured(f"no document in {names}: nothing, or nothing but comments", fix="is it the right file?")
    if mesh := next((each.entry.file for each in checked if each.is_mesh), ""):
        raise Misconfigured(
            f"{mesh} describes a mesh: istioctl up runs it, and its rules are in force while it does",
            fix="for a running mesh edit that file, or put rules into a file of their own",
        )
    return _sound(checked, where)


def _sound(checked: tuple[Checked, ...], where: Where) -> tuple[Wanted, ...]:
    lines = [line_of(found) for each in checked for found in each.diagnostics]
    if invalid := sum(each.verdict == "invalid" for each in checked):
        _refused(lines, invalid, len(checked))
    for line in lines:
        say(line)
    return tuple(wanted_of(each.entry.document, where.namespace) for each in checked if each.entry.document)


Check = Callable[[tuple[Step, ...]], None]
"""Raises `MeshError` when this is not to be done, knowing what is stored."""


def rehearsed(api: Api, wanted: tuple[Wanted, ...], check: Check) -> tuple[Step, ...]:
    """What each needs. Raises `Misconfigured` when the Manager would not take one of them, after saying why."""
    if len(wanted) >= MANY and sys.stderr.isatty():
        say(f"{len(wanted)} objects: the Manager looks at all of them before anything is written ...")
    steps, refusals = rehearse(api, wanted)
    check(steps)
    if refusals:
        _refused([line for refusal in refusals for line in refusal.lines()], len(refusals), len(wanted))
    return steps


def check_nothing(steps: tuple[Step, ...]) -> None:
    """Whether the objects exist or not."""


def check_new(steps: tuple[Step, ...]) -> None:
    """Raises `Conflict` when one of the objects exists."""
    if taken := [str(step.wanted) for step in steps if step.revision]:
        fix = "istioctl apply changes what exists, and istioctl replace nothing else"
        raise Conflict(f"{', '.join(taken)} exists already; nothing was written", fix=fix)


def check_known(steps: tuple[Step, ...]) -> None:
    """Raises `NotFound` when one of the objects does not exist."""
    if missing := [str(step.wanted) for step in steps if not step.revision]:
        fix = "istioctl apply makes what does not exist, and istioctl create nothing else"
        raise NotFound(f"{', '.join(missing)} does not exist; nothing was written", fix=fix)


def _refused(lines: list[str], wrong: int, total: int) -> NoReturn:
    for line in lines:
        say(line)
    documents = "the document is" if total == 1 else f"{wrong} of {total} documents {'is' if wrong == 1 else 'are'}"
    raise Misconfigured(f"{documents} not valid; nothing was written", fix="correct what is said above and do it again")
