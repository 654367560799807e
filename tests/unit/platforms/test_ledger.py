"""The ledger: processes that follow one mesh file give out the same numbers, also one after the other."""

from pathlib import Path

import msgspec
import pytest

from core.model.service import ServiceKey, WorkloadKey
from platforms.local import Settings, open_mesh
from platforms.local.addresses import Addresses, Allocator
from platforms.local.ledger import Ledger
from platforms.local.mesh import follow_plans

A, B, C = (WorkloadKey("default", name) for name in "abc")
SERVICE = ServiceKey("default", "a.default.svc.cluster.local")


def allot(path: Path, *keys: WorkloadKey) -> Addresses:
    return Allocator(0, ledger=Ledger(path)).addresses(keys, [SERVICE])


def test_a_later_process_finds_the_numbers_of_an_earlier_one(tmp_path: Path) -> None:
    """With the same ledger a new allocator goes on where the last one stopped; without, it begins anew."""
    path = tmp_path / "ledger"
    allot(path, A, B)
    assert allot(path, C, B).workloads == {C: 3, B: 2}
    assert allot(path, A).workloads == {A: 1}
    assert path.stat().st_mode & 0o077 == 0
    assert Allocator(0).addresses([C, B], []).workloads == {C: 1, B: 2}


def test_two_allocators_at_once_agree(tmp_path: Path) -> None:
    """Whoever asks first decides, and the other one follows."""
    one, other = (Allocator(0, ledger=Ledger(tmp_path / "ledger")) for _ in range(2))
    assert one.addresses([A], []).workloads == {A: 1}
    assert other.addresses([B, A], []).workloads == {B: 2, A: 1}
    assert one.addresses([C, B], []).workloads == {C: 3, B: 2}


@pytest.mark.parametrize("content", ["", "{", '{"workloads": 3}'])
def test_a_damaged_ledger_counts_as_empty(tmp_path: Path, content: str) -> None:
    """What cannot be read is replaced."""
    path = tmp_path / "ledger"
    path.write_text(content)
    assert allot(path, B).workloads == {B: 1}
    assert allot(path, A, B).workloads == {A: 2, B: 1}


async def test_the_launchers_plan_is_the_managers(tmp_path: Path) -> None:
    """Following the file beside an open mesh gives the same addresses, whatever was in the file before."""
    file = tmp_path / "mesh.yaml"
    settings = Settings(mesh_file=file, state=tmp_path / "state", poll_interval=0.02)
    one, two = (f"  {name}: {{ports: [80], workloads: {{v1: {{command: [x]}}}}}}\n" for name in ("one", "two"))
    file.write_text(f"services:\n{two}")
    async with open_mesh(settings):
        pass
    file.write_text(f"services:\n{one}{two}")
    async with open_mesh(settings) as mesh, follow_plans(msgspec.structs.replace(settings, slot=mesh.slot)) as follower:
        assert follower.plan is not None
        assert mesh.registry.plan is not None
        assert follower.plan.workloads == mesh.registry.plan.workloads
        assert [workload.address.split(".")[-1] for workload in follower.plan.workloads] == ["2", "1"]
