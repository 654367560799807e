"""A small mesh for faults: one caller, one service in two versions, each answering with its version."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from istioctl.local.testing import MeshFile, Up


@pytest.fixture
def mesh_file(tmp_path: Path) -> MeshFile:
    return MeshFile(tmp_path)


@pytest.fixture(scope="session")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> MeshFile:
    return MeshFile(tmp_path_factory.mktemp("mesh"))


@pytest.fixture(scope="session")
def shared(shared_file: MeshFile) -> Iterator[Up]:
    """A mesh for many tests; each leaves it as it found it."""
    with Up(shared_file.path, state=shared_file.path.parent / "state") as up:
        yield up.ready()
