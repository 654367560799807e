"""Every case in capture `redirect`: real proxies in pods, callers that know of nothing, rules of the kernel between."""

from pathlib import Path

import pytest

from istioctl.testing.mesh import TestMesh
from istioctl.testing.runner import agreement, made, under
from istioctl.testing.table import Case, captured, load

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

CASES = captured(load(Path(__file__).parent))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_captured_call_comes_out_as_its_table_expects_and_as_simulated(
    case: Case, redirected: TestMesh
) -> None:
    await under(redirected, case)
    verdict = await made(redirected, case)
    assert not verdict.problems, verdict
    if case.spec.only is None:
        assert not agreement(redirected, case, verdict)
