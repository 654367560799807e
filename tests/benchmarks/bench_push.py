"""What a change costs: compiling, pushing to 200 proxies, memory. Ratios against denominators measured in the same run.

    python tests/benchmarks/bench_push.py [--services 1000] [--proxies 200]

(a) one endpoint, (b) one VirtualService, (c) both at five times the services, (d) a full compile against building the
same protobufs, (e) memory. Prints one row per target and judges it; the exit code is the number of targets missed.
The proxies are fake (fake_proxies.py) and real streams over unix sockets; CPU is this process's, theirs is not counted.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc

import core.envoy.wire as wire
from core.compiler.view import ProxyView
from core.manager.proxies import Proxies
from core.manager.pusher import Pusher
from core.manager.world import World
from core.manager.xds.server import Server
from core.model.change import Change, ConfigPut, InstanceGone, InstancePut, ServiceGone, ServicePut, WorkloadPut
from core.model.config import ConfigKey, Document
from core.model.protocol import Protocol
from core.model.service import Instance, InstanceKey, Locality, Port, Service, ServiceKey, WorkloadKey
from core.model.workload import Explicit, Workload

sys.path.insert(0, str(Path(__file__).parent))
import bench_encode as bare  # type: ignore[import-not-found]  # a script beside this one

ENDPOINTS = 10
ROUNDS = 31
HERE = Path(__file__).parent


def key(i: int) -> ServiceKey:
    return ServiceKey("default", f"svc-{i}.default.svc.cluster.local")


def service(i: int) -> Change:
    address = f"240.240.{i >> 8}.{i & 255}"
    return ServicePut(
        Service(key=key(i), name=f"svc-{i}", ports=(Port("http", 80, Protocol.HTTP),), addresses=(address,))
    )


def instance(i: int, k: int, address: str = "") -> Change:
    return InstancePut(
        Instance(
            key=InstanceKey(key(i), f"e{k}"),
            address=address or f"10.{i >> 8}.{i & 255}.{k + 1}",
            ports=(("http", 8080),),
            locality=Locality("r1", "z1"),
        )
    )


def workload(k: int) -> Change:
    return WorkloadPut(Workload(key=proxy_key(k), address=f"127.1.{k >> 8}.{k & 255}", capture=Explicit()))


def proxy_key(k: int) -> WorkloadKey:
    return WorkloadKey("default", f"proxy-{k}")


def rule(i: int, timeout: int) -> Change:
    routes = [{"timeout": f"{timeout}s", "route": [{"destination": {"host": f"svc-{i}"}}]}]
    spec = json.dumps({"hosts": [f"svc-{i}"], "http": routes}).encode()
    return ConfigPut(Document(key=ConfigKey("networking.istio.io", "VirtualService", "default", "rule"), spec=spec))


class Plane:
    """The Manager's own parts around a world of `services`, without a platform and its timing."""

    def __init__(self, services: int) -> None:
        self.world = World()
        self.pusher = Pusher(self.world)
        self.services = services
        for i in range(services):
            self.pusher.apply(service(i))
            for k in range(ENDPOINTS):
                self.pusher.apply(instance(i, k))

    def change(self, change: Change) -> None:
        self.pusher.apply(change)
        self.pusher.settle()

    def endpoint(self, k: int) -> None:
        self.change(instance(5, 3, f"11.{k >> 8 & 255}.{k & 255}.1"))

    def virtual_service(self, k: int) -> None:
        self.change(rule(7, 1 + k % 50))

    def full(self) -> float:
        """CPU seconds of the first compile for one scope."""
        self.pusher.apply(workload(0))
        self.pusher.groups(proxy_key(0))
        return cpu(self.pusher.settle)


def cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def median_cpu(work: Callable[[int], None], rounds: int = 201) -> float:
    """Median seconds; measured in batches of ten, because the CPU clock is coarse."""

    def batch(first: int) -> None:
        for k in range(first, first + 10):
            work(k)

    return statistics.median(cpu(partial(batch, first)) / 10 for first in range(0, rounds, 10))


def quiet() -> None:
    """As the Manager does once it has read everything."""
    gc.collect()
    gc.freeze()


def resident() -> int:
    """Bytes of memory of this process (Linux), after giving back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# -- pushing -----------------------------------------------------------------------------------------------------------


class Pushed:
    """The plane's Manager parts with `proxies` fake proxies on real streams."""

    def __init__(self, plane: Plane, proxies: int, directory: Path) -> None:
        self.plane = plane
        self.proxies = proxies
        self.directory = directory
        self.server = Server()
        self.served = Proxies(self.server, plane.pusher, state=directory, on_blame=print)
        self.cold = self.per_stream = 0.0

    async def connect(self) -> None:
        keys = [proxy_key(k) for k in range(self.proxies)]
        for k in range(self.proxies):
            self.plane.pusher.apply(workload(k))
            self.plane.pusher.groups(keys[k])
        self.plane.pusher.settle()
        await self.served.serve(set(keys))
        idle, before = resident(), time.process_time()
        sockets = [str(path) for path in sorted((self.directory / "xds").iterdir(), key=_number)]
        self.client = await asyncio.create_subprocess_exec(sys.executable, str(HERE / "fake_proxies.py"), *sockets)
        await _until(lambda: len(self.served.status()) == self.proxies and _all_have(self.served, "RDS"))
        await self.served.answered(within=60)
        self.cold = (time.process_time() - before) / self.proxies
        self.per_stream = (resident() - idle) / self.proxies

    async def close(self) -> None:
        self.client.kill()
        await self.client.wait()
        await self.server.close()

    async def push(self, change: Callable[[int], None], k: int) -> float:
        """CPU seconds per proxy of one change, from the change to the last answer."""
        before = time.process_time()
        change(k)
        await self.served.answered(within=30)
        return (time.process_time() - before) / self.proxies


def _number(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _all_have(served: Proxies, type_: str) -> bool:
    return all(any(d.type == type_ and d.acked for d in proxy.deliveries) for proxy in served.status())


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not true():  # noqa: ASYNC110 - several parts, none of which tells
            await asyncio.sleep(0.05)


class BareServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """grpc.aio and nothing else: writes given bytes to each stream and reads the answer."""

    def __init__(self) -> None:
        self.streams: list[tuple[asyncio.Queue[bytes], asyncio.Event]] = []

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.stream_stream_rpc_method_handler(self.serve)

    async def serve(self, requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        await context.read()
        queue, answered = asyncio.Queue[bytes](), asyncio.Event()
        self.streams.append((queue, answered))
        while True:
            await context.write(await queue.get())
            await context.read()
            answered.set()


class Bare:
    """The same number of fake proxies on bare streams: the floor."""

    def __init__(self, proxies: int, directory: Path) -> None:
        self.proxies = proxies
        self.handler = BareServer()
        self.servers: list[grpc.aio.Server] = []
        self.sockets = [str(directory / f"bare-{k}") for k in range(proxies)]

    async def connect(self) -> None:
        for socket in self.sockets:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((self.handler,))
            server.add_insecure_port(f"unix:{socket}")
            await server.start()
            self.servers.append(server)
        fake = str(HERE / "fake_proxies.py")
        self.client = await asyncio.create_subprocess_exec(sys.executable, fake, *self.sockets)
        await _until(lambda: len(self.handler.streams) == self.proxies)

    async def close(self) -> None:
        self.client.kill()
        await self.client.wait()
        await asyncio.gather(*(server.stop(None) for server in self.servers))

    async def push(self, body: bytes) -> float:
        """CPU seconds per proxy of writing `body` to every stream and reading the answers."""
        before = time.process_time()
        for queue, answered in self.handler.streams:
            answered.clear()
            queue.put_nowait(body)
        for _, answered in self.handler.streams:
            await answered.wait()
        return (time.process_time() - before) / self.proxies


def response(type_url: str, name: str, size: int) -> bytes:
    """A delta response with one resource of `size` bytes."""
    any_ = wire.text(1, type_url) + wire.field(2, b"x" * size)
    # Unknown bytes in an Any are nobody's business here: the fake proxies do not open it.
    resource = wire.field(2, wire.text(1, "v") + wire.field(2, any_) + wire.text(3, name))
    return resource + wire.text(4, type_url) + wire.text(5, "1")


# -- denominators ------------------------------------------------------------------------------------------------------


def bare_build(plane: Plane) -> float:
    """CPU seconds of building the plane's clusters, endpoints and routes with plain protobuf code, once."""
    view = ProxyView(plane.world.inputs, proxy_key(0))
    upstreams = [u for u in view.upstreams().values() if u.service is not None and u.name.startswith("outbound")]
    assignments = list(view.endpoints().values())
    found = [view.routes("http_proxy"), view.routes("80")]
    configurations = [c for c in found if c is not None]
    quiet()

    def build() -> None:
        for upstream in upstreams:
            bare.bare_cluster(upstream)
        for assignment in assignments:
            bare.bare_assignment(assignment)
        for configuration in configurations:
            bare.bare_configuration(configuration)

    return cpu(build)


# -- report ------------------------------------------------------------------------------------------------------------


class Report:
    def __init__(self) -> None:
        self.missed = 0

    def row(self, what: str, value: float, bound: float, unit: str = "") -> None:
        good = value <= bound
        self.missed += not good
        print(f"{'ok  ' if good else 'MISS'}  {what:<66} {value:>10.4g}{unit}   (at most {bound:g}{unit})", flush=True)

    def note(self, what: str, value: str) -> None:
        print(f"      {what:<66} {value:>10}", flush=True)


def full_over_bare(services: int) -> float:
    """Median ratio of a first compile to bare building, five times in turn on planes of their own."""
    ratios = []
    for _ in range(5):
        plane = Plane(services)
        quiet()
        full = plane.full()
        ratios.append(full / bare_build(plane))
    return statistics.median(ratios)


def compile_rows(report: Report, services: int) -> None:
    """Targets (a), (b), (c), (d)."""
    small, large = Plane(services), Plane(5 * services)
    figures = []
    for plane in (small, large):
        quiet()
        full = plane.full()
        quiet()
        with plane.world.inputs.graph.counting() as runs:
            plane.endpoint(0)
        endpoint_runs = sum(runs.values())
        plane.virtual_service(0)
        with plane.world.inputs.graph.counting() as runs:
            plane.virtual_service(1)
        figures.append((full, endpoint_runs, runs, median_cpu(plane.endpoint), median_cpu(plane.virtual_service)))
        report.note(f"full compile, {plane.services} services", f"{full:.3f} s")
    (full, endpoint_runs, rule_runs, endpoint, rule_), (_, _, _, endpoint5, rule5) = figures
    report.row("(a) derived functions that run for one endpoint", endpoint_runs, 10)
    report.row("(a) recompute for one endpoint / full compile", endpoint / full, 1 / 500)
    report.row("(b) recompute for one VirtualService / full compile", rule_ / full, 1 / 100)
    report.row("(b) virtual hosts recomputed for one VirtualService", rule_runs["host_part"], 2)
    report.row("(c) one endpoint at 5x the services / at 1x", endpoint5 / endpoint, 1.2)
    report.row("(c) one VirtualService at 5x the services / at 1x", rule5 / rule_, 1.2)
    report.row("(d) full compile / building the same protobufs", full_over_bare(services), 1.5)
    report.note("recompute for one endpoint, one VirtualService", f"{endpoint * 1e6:.0f}, {rule_ * 1e6:.0f} us")


def memory_rows(report: Report, services: int) -> None:
    """Target (e): memory per service, and back after deleting everything.

    What Python has allocated is counted; the interpreter keeps emptied arenas for itself, so the process stays larger.
    """
    Plane(20).full()  # what is loaded and made once
    before = resident()
    tracemalloc.start()
    plane = Plane(services)
    plane.full()
    used, rss = tracemalloc.get_traced_memory()[0], resident() - before
    for i in range(services):
        for k in range(ENDPOINTS):
            plane.pusher.apply(InstanceGone(InstanceKey(key(i), f"e{k}")))
        plane.pusher.apply(ServiceGone(key(i)))
    plane.pusher.settle()
    gc.collect()
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    report.note("(e) memory per service (10 endpoints, one scope)", f"{used / services / 1024:.1f} KiB")
    report.note("    the same, of the process", f"{rss / services / 1024:.1f} KiB")
    report.row("(e) nodes left after deleting all services", len(plane.world.inputs.graph), 60)
    report.row("(e) memory left after deleting all services / used before", left / used, 0.2)


async def push_rows(report: Report, services: int, proxies: int) -> None:
    """Targets (a) and (e): ours and the floor in turn, so that both see the same machine."""
    url = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    body = response(url, key(5).host, 430)
    with tempfile.TemporaryDirectory() as directory:
        pushed, bare_ = Pushed(Plane(services), proxies, Path(directory)), Bare(proxies, Path(directory))
        await pushed.connect()
        await bare_.connect()
        try:
            quiet()
            plane, rows = pushed.plane, []
            for k in range(ROUNDS):
                endpoint = await pushed.push(plane.endpoint, 1000 + k)
                rows.append((endpoint, await bare_.push(body)))
            # Afterwards: whole route configurations would leave caches cold for what comes next.
            rules = [await pushed.push(plane.virtual_service, k) for k in range(ROUNDS)]
        finally:
            await pushed.close()
            await bare_.close()
    endpoint, floor = (statistics.median(column) for column in zip(*rows, strict=True))
    rule_ = statistics.median(rules)
    report.row(f"(a) CPU per push, one endpoint to {proxies} proxies / bare grpc.aio", endpoint / floor, 1.5)
    report.note("CPU per push: ours, bare", f"{endpoint * 1e6:.0f}, {floor * 1e6:.0f} us")
    report.note("CPU per proxy: one VirtualService (the whole configuration)", f"{rule_ * 1e6:.0f} us")
    report.note("CPU per proxy: cold start", f"{pushed.cold * 1e3:.2f} ms")
    report.note("(e) memory per stream", f"{pushed.per_stream / 1024:.0f} KiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--proxies", type=int, default=200)
    options = parser.parse_args()
    report = Report()
    asyncio.run(push_rows(report, options.services, options.proxies))
    gc.unfreeze()
    memory_rows(report, options.services)
    compile_rows(report, options.services)
    return report.missed


if __name__ == "__main__":
    sys.exit(main())
