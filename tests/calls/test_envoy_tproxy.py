"""A sample of the cases with TPROXY, which has other rules and other sockets: of every third group the first one.

Rules are those of iptables. How addresses of callers come through, by nft: tests/faults/test_tproxy.py.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from core.model.workload import Redirected
from istioctl.testing.certificates import beside
from istioctl.testing.mesh import TestMesh, mesh
from istioctl.testing.redirected import in_pods
from istioctl.testing.runner import agreement, made, under
from istioctl.testing.table import Case, captured, load
from istioctl.testing.wrapping import older
from proxy.capture.wire import Network

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path(__file__).parent
FIRST = {(case.table, case.group): case for case in reversed(captured(load(FOLDER)))}
CASES = [*reversed(FIRST.values())][::3]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def transparent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    mesh_file = beside(FOLDER / "mesh.yaml", tmp_path_factory.mktemp("file"))
    state = tmp_path_factory.mktemp("mesh")
    older(state)
    pods = in_pods(interception="TPROXY", network=Network(backend="iptables"))
    async with pods as ground, mesh(mesh_file, state=state, ground=ground) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_call_comes_out_as_without_tproxy(case: Case, transparent: TestMesh) -> None:
    await under(transparent, case)
    verdict = await made(transparent, case)
    assert not verdict.problems, verdict
    if case.spec.only is None:
        assert not agreement(transparent, case, verdict)


async def test_it_was_tproxy(transparent: TestMesh) -> None:
    """Otherwise all of the above says nothing."""
    sidecars = [each for each in transparent.plan.workloads if each.role == "sidecar"]
    assert all(isinstance(each.capture, Redirected) and each.capture.transparent for each in sidecars)
    assert all(agent.state.restarts == 0 for agent in transparent.agents.values())
