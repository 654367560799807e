"""The sidecars of a mesh on this machine: which there are, and what their Envoys say of themselves."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.errors import MeshError, Unavailable
from core.manager.paths import xds_socket
from core.model.service import WorkloadKey
from core.model.workload import workload_of_node
from istioctl.dump.reading import Dump
from istioctl.workloads import which
from proxy.envoy_process import Files
from proxy.health import Admin

CONFIG, CLUSTERS = "/config_dump?include_eds", "/clusters?format=json"


class _Node(msgspec.Struct, frozen=True):
    id: str = ""


class _Bootstrap(msgspec.Struct, frozen=True):
    node: _Node = _Node()


def sidecars(state: Path) -> tuple[WorkloadKey, ...]:
    """The workloads with a sidecar, sorted; none when no mesh runs here."""
    return tuple(sorted(_found(state / "proxies")))


def find_sidecar(state: Path, name: str, *, namespace: str) -> WorkloadKey:
    """Raises `NotFound` for a name that is none, and `Unavailable` when no mesh runs here."""
    known = sidecars(state)
    if not known:
        fix = "start a mesh with: istioctl up mesh.yaml, name another one with --state-dir, or read a file with -f"
        raise Unavailable(f"no mesh runs with the state directory {state}", fix=fix)
    return which(name, known, namespace=namespace)


def dump(state: Path, key: WorkloadKey, *paths: str) -> Dump:
    """What Envoy answers to `paths`, in one. Raises `Unavailable` when it does not answer."""
    answers = asyncio.run(_ask(_files(state, key).admin, paths))
    parts: dict[str, msgspec.Raw] = {}
    for path, answer in zip(paths, answers, strict=True):
        try:
            parts |= msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            raise MeshError(f"the Envoy of {key} answered {path} with something else: {error}") from error
    return Dump(msgspec.json.encode(parts), name=f"what the Envoy of {key} says")


async def _ask(socket: Path, paths: tuple[str, ...]) -> list[bytes]:
    admin = Admin(str(socket))
    return [(await admin.get(path)).body for path in paths]


def _files(state: Path, key: WorkloadKey) -> Files:
    """Named like the socket that the Manager serves this proxy on: short enough for a unix socket."""
    return Files(state / "proxies" / xds_socket(state, key).name)


def _found(root: Path) -> Iterator[WorkloadKey]:
    """By what the bootstraps say, because the names of directories may be shortened."""
    for directory in root.iterdir() if root.is_dir() else ():
        try:
            text = Files(directory).bootstrap.read_bytes()
            key = workload_of_node(msgspec.json.decode(text, type=_Bootstrap).node.id)
        except (OSError, msgspec.DecodeError):
            continue
        if key:
            yield key
