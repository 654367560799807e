"""The tables, and the two meshes they run on: one that is only planned, and one of real proxies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from istioctl.testing.certificates import beside
from istioctl.testing.mesh import TestMesh, mesh
from istioctl.testing.offline import planned
from istioctl.testing.redirected import in_pods
from istioctl.testing.wrapping import older
from platforms.local.plan import Plan

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def plan() -> Plan:
    return planned(FOLDER / "mesh.yaml")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    mesh_file = beside(FOLDER / "mesh.yaml", tmp_path_factory.mktemp("file"))
    state = tmp_path_factory.mktemp("mesh")
    older(state)
    async with mesh(mesh_file, state=state) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redirected(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    """The same mesh in pods, with rules of the kernel."""
    mesh_file = beside(FOLDER / "mesh.yaml", tmp_path_factory.mktemp("file"))
    state = tmp_path_factory.mktemp("mesh")
    older(state)
    async with in_pods() as ground, mesh(mesh_file, state=state, ground=ground) as found:
        yield found
