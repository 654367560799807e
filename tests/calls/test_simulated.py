"""Every case that can be simulated comes out in the simulator as its table expects. No process, no socket."""

from functools import lru_cache
from pathlib import Path

import pytest

from istioctl.testing.offline import StillMesh
from istioctl.testing.runner import rules_of, simulated
from istioctl.testing.table import Case, load
from platforms.local.plan import Plan

CASES = [case for case in load(Path(__file__).parent) if case.spec.only is None]


@lru_cache(maxsize=1)
def _still(plan: Plan, rules: str) -> StillMesh:
    return StillMesh(plan, rules=rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_call_comes_out_as_its_table_expects(case: Case, plan: Plan) -> None:
    verdict = simulated(_still(plan, rules_of(case, outside=1)), case)
    assert not verdict.problems, verdict
