"""Where the Manager keeps things in its state directory, for itself and for the agents of the same machine."""

import hashlib
from pathlib import Path

from core.model.service import WorkloadKey

_LONGEST_NAME = 40


def xds_socket(state: Path, key: WorkloadKey) -> Path:
    """The socket on which only this workload's proxy is served; who may open it is who may enter the directory.

    Long names are shortened with a hash, because the path of a unix socket has to fit into 107 bytes.
    """
    name = str(key)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name[: _LONGEST_NAME - 13]}-{digest}"
    return state / "xds" / name
