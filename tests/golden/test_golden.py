"""What a proxy gets for a mesh file with rules, in full: a folder for each case, `input.yaml` says what to look at.

A difference is not always a mistake: if it is meant, run `pytest tests/golden --update-golden`, read what that wrote,
and commit it.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict

from core.envoy.any import packed, typed
from core.envoy.testing.bootstrap import bootstrap
from core.manager.testing.facts import Fact, Plane, workload_key
from core.manager.xds.resource import Resource, ResourceType
from core.model.service import Health
from istioctl.testing.certified import certify
from platforms.local.addresses import Allocator
from platforms.local.decode import load
from platforms.local.plan import plan
from proxy import binary

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/input.yaml"))
FILES = {
    "listeners": ResourceType.LISTENER,
    "routes": ResourceType.ROUTES,
    "clusters": ResourceType.CLUSTER,
    "endpoints": ResourceType.ENDPOINTS,
}
PROXY, CAPTURE = "# proxy: ", "# capture: redirect"


class Compiled:
    """A case, compiled as the Manager does it; all instances are healthy."""

    def __init__(self, case: str) -> None:
        path = HERE / case / "input.yaml"
        decoded = load(path)
        assert decoded.file is not None, decoded.diagnostics
        lines = path.read_text().splitlines()
        planned = plan(decoded.file, Allocator(0), capture="redirect" if CAPTURE in lines else "none")
        healthy = [msgspec.structs.replace(each, health=Health.HEALTHY) for each in planned.instances]
        facts: list[Fact] = [*planned.services, *healthy, *planned.workloads, *decoded.file.documents]
        self._plane = Plane(*facts)
        (line,) = (line for line in lines if line.startswith(PROXY))
        self._proxy = line.removeprefix(PROXY)
        self._plane.connected(self._proxy)

    def resources(self, type_: ResourceType) -> list[Resource]:
        """Sorted by name."""
        groups = self._plane.pusher.groups(workload_key(self._proxy))
        found = {name: each for group in groups for name, each in group[type_].resources.items()}
        return [found[name] for name in sorted(found)]

    def messages(self, type_: ResourceType) -> list[object]:
        return [_plain(resource.wire()) for resource in self.resources(type_)]

    def findings(self) -> list[object]:
        pusher = self._plane.pusher
        return [
            {"document": str(key), "code": found.code, "severity": str(found.severity),
             "field": found.origin.path if found.origin else "", "message": found.message, "fix": found.fix}
            for key in sorted(self._plane.world.documents)
            for found in pusher.diagnostics(key)
        ]  # fmt: skip


def _plain(body: bytes) -> object:
    """Names as in the API; the envelope's type is told by the file."""
    found: dict[str, Any] = MessageToDict(AnyMessage.FromString(body), preserving_proto_field_name=True)
    found.pop("@type")
    return _shortened(found)


def _shortened(found: Any) -> Any:
    """Telemetry is the same everywhere, and long: only what is counted is told (tests/unit/envoy/test_telemetry.py)."""
    if isinstance(found, list):
        return [_shortened(each) for each in found]
    if not isinstance(found, dict):
        return found
    if found.get("name") != "envoy.access_loggers.stats":
        return {name: _shortened(each) for name, each in found.items()}
    config = found["typed_config"]
    return {"counts": [each["stat"]["name"] for each in (*config["counters"], *config.get("histograms", ()))]}


def dumped(values: list[object]) -> str:
    """Sorted: protobuf's maps have no order of their own."""
    plain = json.loads(json.dumps(values))
    return str(yaml.safe_dump(plain, width=120, allow_unicode=True))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def compiled(case: str) -> Compiled:
    return Compiled(case)


@pytest.mark.parametrize("name", [*FILES, "diagnostics"])
def test_what_comes_out_is_what_is_written_down(
    name: str, case: str, compiled: Compiled, request: pytest.FixtureRequest
) -> None:
    """Every message that the proxy gets, and every finding, field by field."""
    text = dumped(compiled.findings() if name == "diagnostics" else compiled.messages(FILES[name]))
    path = HERE / case / f"{name}.yaml"
    if request.config.getoption("--update-golden", default=False):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.envoy
def test_envoy_accepts_it(case: str, compiled: Compiled, tmp_path: Path) -> None:
    """Envoy loads all of it as a static configuration: clusters with their endpoints, listeners, and all routes."""
    types = (ResourceType.CLUSTER, ResourceType.ENDPOINTS, ResourceType.LISTENER)
    resources = [resource.wire() for type_ in types for resource in compiled.resources(type_)]
    routes = [_listener_of(resource.wire()) for resource in compiled.resources(ResourceType.ROUTES)]
    (tmp_path / "bootstrap.pb").write_bytes(bootstrap([*resources, *routes]))
    certify(tmp_path)
    command = [binary.find().path, "-c", str(tmp_path / "bootstrap.pb"), "--mode", "validate", "--disable-hot-restart"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def _listener_of(body: bytes) -> bytes:
    """A listener that holds the route configuration: what comes over the wire, Envoy does not validate offline."""
    configuration = route_pb2.RouteConfiguration.FromString(AnyMessage.FromString(body).value)
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="x", route_config=configuration)
    each = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=typed(manager)
    )
    address = address_pb2.Address(pipe=address_pb2.Pipe(path=f"@{configuration.name}"))
    chains = [listener_components_pb2.FilterChain(filters=[each])]
    return packed(listener_pb2.Listener(name=f"routes {configuration.name}", address=address, filter_chains=chains))
