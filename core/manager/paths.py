"""Where the Manager keeps things in its state directory, for itself and for the agents of the same machine."""

import hashlib
from pathlib import Path

from core.model.service import WorkloadKey

_LONGEST_NAME = 40
_OTHERS = "managers"


def home(state: Path, number: int = 1) -> Path:
    """Where Manager `number` (from 1) has its own sockets; all else in the state directory is for all of them."""
    return state if number == 1 else state / _OTHERS / str(number)


def homes(state: Path) -> tuple[Path, ...]:
    """Those of all Managers that were made room for, in the order of their numbers; of a single one `state` itself."""
    others = state / _OTHERS
    numbers = sorted(int(each.name) for each in others.iterdir() if each.name.isdigit()) if others.is_dir() else []
    return (state, *(home(state, number) for number in numbers))


def numbered(state: Path, home: Path) -> int:
    """Which Manager has its sockets there."""
    return 1 if home == state else int(home.name)


def xds_socket(home: Path, key: WorkloadKey) -> Path:
    """The socket on which only this workload's proxy is served; who may open it is who may enter the directory."""
    return home / "xds" / _short(key)


def ca_socket(home: Path, key: WorkloadKey) -> Path:
    """The socket on which only this workload's agent gets certificates (HTTP)."""
    return home / "ca" / _short(key)


def identity_directory(state: Path) -> Path:
    """Where the root of trust is kept, and what join tokens are signed with and were used up."""
    return state / "identity"


def api_directory(state: Path) -> Path:
    """Where the config API keeps who may use it (`tokens`), what was done (`audit.jsonl`), and its last port."""
    return state / "api"


def refused_directory(state: Path) -> Path:
    """Where Managers tell each other, and themselves after a restart, which documents proxies refused and took."""
    return state / "refused"


def kubeconfig(state: Path) -> Path:
    """With which kubectl finds the config API of this state directory."""
    return state / "kubeconfig"


def _short(key: WorkloadKey) -> str:
    """Long names are shortened with a hash, because the path of a unix socket has to fit into 107 bytes."""
    name = str(key)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name[: _LONGEST_NAME - 13]}-{digest}"
    return name


def agent_directory(state: Path, key: WorkloadKey) -> Path:
    """Where the agent of a workload on this machine keeps its files, Envoy's certificate among them."""
    return state / "proxies" / _short(key)


def agent_socket(state: Path, key: WorkloadKey) -> Path:
    """The unix socket on which that agent tells how it and its application are, and their metrics (HTTP)."""
    return agent_directory(state, key) / "agent.sock"
