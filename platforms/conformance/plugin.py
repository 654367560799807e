"""The pytest plugin of the suite: `--mesh-harness module:Class`, and a summary with a line per case and the level."""

import importlib
from collections import defaultdict
from collections.abc import Iterator
from typing import cast

import pytest

from platforms.conformance.case import Outcome, Result
from platforms.conformance.cases import CASES
from platforms.conformance.harness import Harness
from platforms.conformance.report import line, obstacles, summary
from platforms.conformance.test_conformance import PROPERTY

_CASES = {case.id: case for case in CASES}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mesh", "conformance of platforms")
    group.addoption(
        "--mesh-harness", metavar="MODULE:CLASS", help="the harness of the platform to hold to the contract"
    )


@pytest.fixture
def mesh_harness(request: pytest.FixtureRequest) -> Harness:
    """The harness that `--mesh-harness` names; define a fixture of this name to choose another way."""
    name = request.config.getoption("--mesh-harness")
    if not name:
        raise pytest.UsageError("say which platform: --mesh-harness module:Class")
    module, _, attribute = name.partition(":")
    try:
        made: Harness = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"--mesh-harness {name}: {error}") from error
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One section for every platform that was tested."""
    reports = [report for some in terminalreporter.stats.values() for report in some if _is_call(report)]
    platforms: dict[str, list[Outcome]] = defaultdict(list)
    for report in reports:
        for name, outcome in _outcomes(report):
            platforms[name].append(outcome)
    order = list(_CASES)
    for name, outcomes in platforms.items():
        _write(terminalreporter, name, sorted(outcomes, key=lambda outcome: order.index(outcome.case.id)))


def _is_call(report: object) -> bool:
    return isinstance(report, pytest.TestReport) and report.when == "call"


def _outcomes(report: pytest.TestReport) -> Iterator[tuple[str, Outcome]]:
    """What the test noted of itself, unless pytest found more (a warning, a leak)."""
    for key, value in report.user_properties:
        if key == PROPERTY:
            name, case_id, result, reason, seconds = cast(tuple[str, str, str, str, float], value)
            if report.failed and result != Result.FAIL:
                result, reason = Result.FAIL, report.longreprtext.splitlines()[-1]
            outcome = Outcome(case=_CASES[case_id], result=Result(result), reason=reason, seconds=seconds)
            yield name, outcome


def _write(reporter: pytest.TerminalReporter, name: str, outcomes: list[Outcome]) -> None:
    reporter.section(f"mesh conformance of {name}")
    for outcome in outcomes:
        reporter.write_line(line(outcome))
    for outcome in obstacles(outcomes):
        if outcome.result is Result.SKIP:
            reporter.write_line(f"{outcome.case.id} may not be skipped for this level")
    reporter.write_line(summary(name, outcomes))
