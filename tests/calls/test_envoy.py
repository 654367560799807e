"""Every case comes out on real proxies as its table expects, and as the simulator says."""

from pathlib import Path

import pytest

from istioctl.testing.mesh import TestMesh
from istioctl.testing.runner import agreement, made, under
from istioctl.testing.table import Case, load

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

CASES = load(Path(__file__).parent)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_call_comes_out_as_its_table_expects_and_as_simulated(case: Case, live: TestMesh) -> None:
    await under(live, case)
    verdict = await made(live, case)
    assert not verdict.problems, verdict
    if case.spec.only is None:
        assert not agreement(live, case, verdict)
