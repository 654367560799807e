"""The tables, and the two meshes they run on: one that is only planned, and one of real proxies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from istioctl.testing.mesh import TestMesh, mesh
from istioctl.testing.offline import planned
from platforms.local.plan import Plan

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def plan() -> Plan:
    return planned(FOLDER / "mesh.yaml")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    async with mesh(FOLDER / "mesh.yaml", state=tmp_path_factory.mktemp("mesh")) as found:
        yield found
