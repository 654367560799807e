"""The conformance harness of the local platform: the world is a real file, and applications that really listen."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import yaml

from core.diagnostics import Diagnostic
from core.model.protocol import Protocol
from core.model.service import Health, InstanceKey, ServiceKey
from core.ports import Platform
from platforms.conformance.harness import Budgets, Harness, InstanceSpec, PortSpec, Rival, ServiceSpec, Unsupported
from platforms.local.mesh import LEADER, STORE, open_platform
from platforms.local.settings import CaptureMode, Settings

Json = dict[str, object]

_ACTS = """
import asyncio, sys
from pathlib import Path
from platforms.local.elector import FileElector

async def act(term):
    while True:
        print(term, flush=True)
        await asyncio.sleep(0.01)

asyncio.run(FileElector(Path(sys.argv[1])).lead(act))
"""
_LONG = 0.5


class LocalHarness(Harness):
    """Every operation rewrites the mesh file by rename, as editors do; instances are sockets of this process."""

    name = "local"
    package = "platforms.local"
    budgets = Budgets(event=3.0, sync=5.0, quiet=0.3, many=60)

    def __init__(self, capture: CaptureMode = "none") -> None:
        self._capture: CaptureMode = capture
        self.folder = Path()
        self.said: tuple[Diagnostic, ...] = ()
        self._services: dict[tuple[str, str], ServiceSpec] = {}
        self._instances: dict[tuple[str, str, str], InstanceSpec] = {}
        self._applications: dict[tuple[str, str, str], Application] = {}

    @property
    def file(self) -> Path:
        return self.folder / "mesh.yaml"

    async def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mesh-conformance-"))
        self._write()

    async def stop(self) -> None:
        for application in self._applications.values():
            application.close()
        shutil.rmtree(self.folder)

    def open(self) -> AbstractAsyncContextManager[Platform]:
        return self._open()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Platform]:
        settings = Settings(
            mesh_file=self.file,
            state=self.folder / "state",
            capture=self._capture,
            poll_interval=0.02,
            probe_interval=0.05,
            first_probe_interval=0.02,
        )
        async with open_platform(settings, report=self._hear) as platform:
            yield platform

    async def put_service(self, service: ServiceSpec) -> ServiceKey:
        if service.headless:
            raise Unsupported("every service of a mesh file has a virtual address")
        self._services[service.namespace, service.name] = service
        self._write()
        return self._key(service.name, service.namespace)

    async def delete_service(self, service: ServiceSpec) -> None:
        del self._services[service.namespace, service.name]
        for name in [name for name in self._instances if name[:2] == (service.namespace, service.name)]:
            await self._remove(name)
        self._write()

    async def put_instance(self, instance: InstanceSpec) -> InstanceKey:
        await self._put(instance)
        self._write()
        return InstanceKey(self._key(instance.service, instance.namespace), f"{instance.service}-{instance.id}")

    async def put_instances(self, instances: Sequence[InstanceSpec]) -> None:
        for instance in instances:
            await self._put(instance)
            self._write()

    async def delete_instance(self, instance: InstanceSpec) -> None:
        await self._remove((instance.namespace, instance.service, instance.id))
        self._write()

    async def set_health(self, instance: InstanceSpec, health: Health) -> None:
        await self._listen(instance, health)

    async def redeliver(self) -> None:
        """The same text, written anew."""
        self._write()

    async def reorder(self) -> None:
        self._services = dict(reversed(self._services.items()))
        self._write()

    async def down(self) -> None:
        self.file.unlink()

    async def up(self) -> None:
        self._write()

    def problem(self) -> str:
        return "; ".join(f"{finding.message} ({finding.fix})" for finding in self.said if finding.fix)

    def protocols(self) -> Sequence[tuple[PortSpec, Protocol]]:
        """By `protocol`; what is left empty goes by the port's name, then by its number."""
        declared = [(PortSpec(name="x", protocol=p.value), p) for p in Protocol if p is not Protocol.AUTO]
        by_name = [
            ("grpc-api", Protocol.GRPC),
            ("http2", Protocol.HTTP2),
            ("tcp-x", Protocol.TCP),
            ("x", Protocol.AUTO),
        ]
        undeclared = [(PortSpec(name=name, protocol=""), protocol) for name, protocol in by_name]
        return [*declared, *undeclared, (PortSpec(name="x", number=3306, protocol=""), Protocol.TCP)]

    async def forget(self) -> None:
        """As another process would that shares the file."""
        with contextlib.closing(sqlite3.connect(self.folder / "state" / STORE)) as sql, sql:
            sql.execute("DELETE FROM change")
            sql.execute("UPDATE counter SET floor = value")

    def rival(self) -> AbstractAsyncContextManager[Rival]:
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        return rival(self.folder / "state" / LEADER)

    def _hear(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.said = diagnostics

    def _key(self, name: str, namespace: str) -> ServiceKey:
        return ServiceKey(namespace, f"{name}.{namespace}.svc.cluster.local")

    async def _put(self, spec: InstanceSpec) -> None:
        if spec.address:
            raise Unsupported("addresses are allotted by the platform")
        if spec.health is Health.DRAINING:
            raise Unsupported("a mesh file cannot say that an instance drains")
        self._instances[spec.namespace, spec.service, spec.id] = spec
        await self._listen(spec, spec.health)

    async def _listen(self, spec: InstanceSpec, health: Health) -> None:
        if health is Health.DRAINING:
            raise Unsupported("a mesh file cannot say that an instance drains")
        name = (spec.namespace, spec.service, spec.id)
        if name not in self._applications:
            self._applications[name] = Application()
        self._applications[name].be(health)

    async def _remove(self, name: tuple[str, str, str]) -> None:
        self._instances.pop(name, None)
        if application := self._applications.pop(name, None):
            application.close()

    def _write(self) -> None:
        text = yaml.safe_dump({"services": {self._name(s): self._service(s) for s in self._services.values()}})
        fresh = self.folder / "mesh.yaml.new"
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.file)

    def _name(self, spec: ServiceSpec) -> str:
        return spec.name if spec.namespace == "default" else f"{spec.name}.{spec.namespace}"

    def _service(self, spec: ServiceSpec) -> Json:
        instances = [i for i in self._instances.values() if (i.namespace, i.service) == (spec.namespace, spec.name)]
        targets = dict(pair for instance in instances for pair in instance.ports)
        ports = [self._port(port, targets.get(port.name, port.number)) for port in spec.ports]
        workloads = {instance.id: self._workload(spec, instance) for instance in instances}
        return {"ports": ports, "labels": spec.labels, "workloads": workloads}

    def _port(self, port: PortSpec, target: int) -> Json:
        said: Json = {"name": port.name, "port": port.number, "targetPort": target}
        return said | ({"protocol": port.protocol} if port.protocol else {})

    def _workload(self, service: ServiceSpec, instance: InstanceSpec) -> Json:
        application = self._applications[instance.namespace, instance.service, instance.id]
        return {
            "address": {port.number: f"127.0.0.1:{application.port}" for port in service.ports},
            "labels": instance.labels,
            "locality": instance.locality,
            "weight": instance.weight,
            "serviceAccount": instance.service_account,
        }


class Application:
    """A program that listens on a port of 127.0.0.1, or does not listen there for the moment."""

    def __init__(self) -> None:
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._listening: socket.socket | None = None

    def be(self, health: Health) -> None:
        """Healthy: accepts connections (and hangs up). Anything else: refuses them."""
        if health is not Health.HEALTHY:
            self._stop()
        elif self._listening is None:
            self._listening = _bound(self.port)
            self._listening.listen()
            asyncio.get_running_loop().add_reader(self._listening, _hang_up, self._listening)

    def close(self) -> None:
        self._stop()
        self._holder.close()

    def _stop(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None


def _bound(port: int) -> socket.socket:
    """Keeps the port for this program without listening on it, so that nobody else is given it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.setblocking(False)
    holder.bind(("127.0.0.1", port))
    return holder


def _hang_up(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listening.accept()[0].close()


class Elected(Rival):
    """A process that says the number of its term again and again, which stands for what only a leader may do."""

    def __init__(self, process: Process, term: int) -> None:
        self._process = process
        self._term = term

    @property
    def term(self) -> int:
        return self._term

    async def acting(self) -> bool:
        """What it said before the question may still be in the pipe: it counts when it says it for half a second."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LONG
        with contextlib.suppress(TimeoutError):
            while loop.time() < until:
                async with asyncio.timeout(_LONG):
                    if not await self._said():
                        return False
            return True
        return False

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def _said(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()


@contextlib.asynccontextmanager
async def rival(lock: Path) -> AsyncIterator[Elected]:
    """One that leads by now. It is killed at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _ACTS, str(lock), stdout=PIPE)
    try:
        assert process.stdout is not None
        yield Elected(process, int(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
