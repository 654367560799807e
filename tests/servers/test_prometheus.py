"""A real Prometheus scrapes the agents of a real mesh, and Istio's usual queries have the right answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.caller import send_many
from istioctl.testing.certificates import beside
from istioctl.testing.mesh import TestMesh, mesh
from proxy.status import METRICS_PORT

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

DEADLINE = 40.0
CALLS = 60
Answers = dict[tuple[tuple[str, str], ...], float]


class Prometheus(Protocol):
    async def query(self, promql: str) -> Answers: ...
    async def healthy(self) -> list[str]: ...


Scraping = Callable[[list[str]], AbstractAsyncContextManager[Prometheus]]


@pytest_asyncio.fixture
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestMesh]:
    mesh_file = beside(Path(__file__).with_name("mesh.yaml"), tmp_path_factory.mktemp("file"))
    async with mesh(mesh_file, state=tmp_path_factory.mktemp("mesh")) as found:
        yield found


async def until(prometheus: Prometheus, promql: str, right: Callable[[Answers], bool]) -> Answers:
    """Asks until the answer is right; scrapes take half a second, and Envoy's histograms five."""
    deadline = time.monotonic() + DEADLINE
    while not right(found := await prometheus.query(promql)):
        assert time.monotonic() < deadline, f"{promql}: {found}"
        await asyncio.sleep(0.1)
    return found


def by(label: str, found: Answers) -> dict[str, float]:
    return {dict(labels)[label]: value for labels, value in found.items()}


async def test_queries_people_have(live: TestMesh, scraping: Scraping) -> None:
    """Both sides count every call; sums by label are right; quantiles, rates and success rates can be computed."""
    call = Call(source=WorkloadKey("default", "sleep-v1"), host="web", port=80)
    targets = sorted(f"{workload.address}:{METRICS_PORT}" for workload in live.plan.workloads)
    async with scraping(targets) as prometheus:
        replies = await send_many(live, call, times=CALLS)
        assert {reply.status for reply in replies} == {200}
        total = await until(
            prometheus, "sum by (reporter) (istio_requests_total)", lambda a: set(a.values()) == {CALLS} and len(a) == 2
        )
        assert by("reporter", total) == {"source": CALLS, "destination": CALLS}
        assert await prometheus.healthy() == targets
        await _check_labels(prometheus)
        await _check_quantiles(prometheus)
        await _check_rates(live, prometheus, call)


async def _check_labels(prometheus: Prometheus) -> None:
    query = "sum by (destination_workload) (istio_requests_total{reporter='%s'})"
    at_source = by("destination_workload", await prometheus.query(query % "source"))
    assert set(at_source) == {"web-v1", "web-v2"}
    assert sum(at_source.values()) == CALLS
    assert at_source == by("destination_workload", await prometheus.query(query % "destination"))
    mutual = "sum by (source_workload, connection_security_policy) (istio_requests_total{reporter='destination'})"
    (labels,) = await prometheus.query(mutual)
    assert dict(labels) == {"source_workload": "sleep-v1", "connection_security_policy": "mutual_tls"}


async def _check_quantiles(prometheus: Prometheus) -> None:
    buckets = "sum by (le) (istio_request_duration_milliseconds_bucket{reporter='source'})"
    counted = f"{buckets} == {CALLS}"
    await until(prometheus, counted, lambda a: (("le", "+Inf"),) in a)
    (p99,) = (await prometheus.query(f"histogram_quantile(0.99, {buckets})")).values()
    assert 0 < p99 < 10_000
    istios = {"0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000",
              "300000", "600000", "1800000", "3600000", "+Inf"}  # fmt: skip
    assert {dict(labels)["le"] for labels in await prometheus.query(buckets)} == istios


async def _check_rates(live: TestMesh, prometheus: Prometheus, call: Call) -> None:
    """The success rate as dashboards compute it, under traffic, and then with a service that is out."""
    await send_many(live, call, times=CALLS)
    good = 'sum(rate(istio_requests_total{reporter="destination",response_code!~"5.*"}[1m]))'
    success = f'{good} / sum(rate(istio_requests_total{{reporter="destination"}}[1m]))'
    await until(prometheus, success, lambda a: list(a.values()) == [1.0])
