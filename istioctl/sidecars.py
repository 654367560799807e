"""The sidecars of a mesh on this machine: which there are, and what their Envoys say of themselves.

For gRPC applications without a proxy, which tell nothing, a Manager says what it has for them.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.errors import MeshError, NotFound, Unavailable
from core.manager.paths import xds_socket
from core.model.service import WorkloadKey
from core.model.workload import workload_of_node
from istioctl.client import Api
from istioctl.dump.reading import Dump
from istioctl.managers import sockets
from istioctl.transport import UnixSocket
from istioctl.workloads import which
from proxy.envoy_process import Files
from proxy.grpc_bootstrap import GrpcFiles
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


def find_proxy(state: Path, name: str, *, namespace: str) -> WorkloadKey:
    """The same among sidecars and gRPC applications without a proxy."""
    known = tuple(sorted({*sidecars(state), *_applications(state)}))
    return which(name, known, namespace=namespace) if known else find_sidecar(state, name, namespace=namespace)


def is_proxyless(state: Path, key: WorkloadKey) -> bool:
    """Whether the workload is a gRPC application without a proxy."""
    return key in _applications(state)


def sent(state: Path, key: WorkloadKey) -> Dump:
    """What the application is told: its bootstrap, and what a Manager has for it. Raises `Unavailable`, `NotFound`."""
    said = _said(state, key)
    configs = [*msgspec.json.decode(said["configs"], type=list[msgspec.Raw]), _bootstrap(state, key)]
    return Dump(msgspec.json.encode({"configs": configs}), name=f"what the Manager has for {key}")


def _said(state: Path, key: WorkloadKey) -> dict[str, msgspec.Raw]:
    """Of several Managers only the one knows it that it is connected to."""
    *others, last = sockets(state)
    for socket in others:
        with contextlib.suppress(NotFound, Unavailable), Api(UnixSocket(socket)) as api:
            return api.sent(key)
    with Api(UnixSocket(last)) as api:
        return api.sent(key)


def _bootstrap(state: Path, key: WorkloadKey) -> msgspec.Raw:
    text = GrpcFiles(_files(state, key).directory).bootstrap.read_bytes()
    kind = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"
    return msgspec.Raw(msgspec.json.encode({"@type": kind, "bootstrap": msgspec.Raw(text)}))


def _applications(state: Path) -> tuple[WorkloadKey, ...]:
    return tuple(_found(state / "proxies", kind=GrpcFiles))


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


def _found(root: Path, *, kind: type[Files] = Files) -> Iterator[WorkloadKey]:
    """By what the bootstraps say, because the names of directories may be shortened."""
    for directory in root.iterdir() if root.is_dir() else ():
        try:
            text = kind(directory).bootstrap.read_bytes()
            key = workload_of_node(msgspec.json.decode(text, type=_Bootstrap).node.id)
        except (OSError, msgspec.DecodeError):
            continue
        if key:
            yield key
