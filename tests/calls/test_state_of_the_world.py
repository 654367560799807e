"""The same answers over the other transport: a selection of cases, with proxies that speak state-of-the-world xDS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from istioctl.testing.mesh import Manner, TestMesh, mesh
from istioctl.testing.runner import agreement, made, under
from istioctl.testing.table import Case, load
from proxy.bootstrap import Transport

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path(__file__).parent
GROUPS = {
    "basics/ways in",
    "basics/nobody there",
    "shares/weights",
    "shares/subsets",
    "sources/labels and namespaces of callers",
    "unknown/forbidden",
    "precedence/wildcards",
    "entries/addresses",
    "entries/names",
}
CASES = [case for case in load(FOLDER) if f"{case.table}/{case.group}" in GROUPS and case.spec.only is None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    state = tmp_path_factory.mktemp("mesh")
    async with mesh(FOLDER / "mesh.yaml", state=state, manner=Manner(transport=Transport.STATE_OF_THE_WORLD)) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_call_comes_out_alike(case: Case, live: TestMesh) -> None:
    await under(live, case)
    verdict = await made(live, case)
    assert not verdict.problems, verdict
    assert not agreement(live, case, verdict)
