"""Every case in capture `redirect` in the simulator: what a table says of that, and what it says of no capture."""

from functools import lru_cache
from pathlib import Path

import pytest

from istioctl.testing import judge
from istioctl.testing.mesh import loaded
from istioctl.testing.offline import StillMesh
from istioctl.testing.runner import rules_of, simulated
from istioctl.testing.table import Case, captured, load
from platforms.local.addresses import Allocator
from platforms.local.plan import Plan, plan

FOLDER = Path(__file__).parent
TABLES = load(FOLDER)
CASES = [case for case in captured(TABLES) if case.spec.only is None]


@pytest.fixture(scope="module")
def redirected() -> Plan:
    return plan(loaded(FOLDER / "mesh.yaml"), Allocator(0), capture="redirect")


@lru_cache(maxsize=1)
def _still(planned: Plan, rules: str) -> StillMesh:
    return StillMesh(planned, rules=rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_captured_call_comes_out_as_its_table_expects(case: Case, redirected: Plan) -> None:
    verdict = simulated(_still(redirected, rules_of(case, outside=1)), case)
    assert not verdict.problems, verdict


@pytest.mark.parametrize("case", [case for case in CASES if case.spec.redirect], ids=lambda case: case.id)
def test_what_is_said_to_be_otherwise_is(case: Case, redirected: Plan) -> None:
    """What holds without capture does not hold with it; a reason that no longer holds is taken out."""
    elsewhere = next(each for each in TABLES if each.key == case.key)
    verdict = simulated(_still(redirected, rules_of(case, outside=1)), case)
    assert judge.problems(elsewhere.expect, verdict.observed, times=0)
