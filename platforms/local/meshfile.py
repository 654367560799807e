"""What a mesh file says, as types: every default filled in, nothing numbered or placed yet. No YAML here."""

import msgspec

from core.model.config import Document
from core.model.labels import NO_LABELS, Labels
from core.model.mesh import Mesh
from core.model.protocol import Protocol
from core.model.secret import SecretKey
from core.model.service import Locality, ServiceKey, WorkloadKey
from core.model.workload import Interception


class PortSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One port of a service; the application listens on `target`."""

    name: str
    number: int
    target: int
    protocol: Protocol


class Runs(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The mesh starts the application. `directory` is relative to the mesh file's own."""

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    directory: str = "."


class Listener(msgspec.Struct, frozen=True):
    """For the service port `port` the application already listens on `address`:`target`."""

    port: int
    address: str
    target: int


class Listens(msgspec.Struct, frozen=True, tag=True):
    """Somebody else starts the application; a pure client has no listeners."""

    listeners: tuple[Listener, ...] = ()


Application = Runs | Listens


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Where the application of a workload has metrics of its own (Prometheus' text), at its own address."""

    port: int
    path: str = "/metrics"


class WorkloadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a service; `name` is its key in the file. `interception` None: as the mesh is run."""

    name: str
    application: Application
    labels: Labels
    service_account: str = "default"
    replicas: int = 1
    locality: Locality = Locality()
    weight: int = 1
    metrics: Metrics | None = None
    proxyless: bool = False
    interception: Interception | None = None


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One service with its workloads. Without ports it cannot be called: its workloads are pure clients."""

    name: str
    namespace: str
    ports: tuple[PortSpec, ...] = ()
    labels: Labels = NO_LABELS
    workloads: tuple[WorkloadSpec, ...] = ()

    def key(self, domain_suffix: str) -> ServiceKey:
        return ServiceKey(self.namespace, f"{self.name}.{self.namespace}.svc.{domain_suffix}")

    def replicas(self, workload: WorkloadSpec) -> tuple[WorkloadKey, ...]:
        """`<service>-<workload>`, from the second replica on `-2`, `-3` …, so that the first keeps its name."""
        stem = f"{self.name}-{workload.name}"
        names = [stem if n == 1 else f"{stem}-{n}" for n in range(1, workload.replicas + 1)]
        return tuple(WorkloadKey(self.namespace, name) for name in names)


class GatewaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy through which calls come in. `ports`: what documents name, and what is bound (None: any free one)."""

    name: str
    namespace: str
    ports: tuple[tuple[int, int | None], ...]
    labels: Labels
    service_account: str = "default"
    locality: Locality = Locality()

    @property
    def key(self) -> WorkloadKey:
        return WorkloadKey(self.namespace, self.name)


class SecretSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key, as files relative to the mesh file's directory; `roots` "" for none."""

    name: str
    namespace: str
    certificate: str
    key: str
    roots: str = ""

    @property
    def secret(self) -> SecretKey:
        return SecretKey(self.namespace, self.name)


class MeshFile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole mesh. `documents` are the further YAML documents and the `mesh` section, undecoded."""

    mesh: Mesh = Mesh()
    services: tuple[ServiceSpec, ...] = ()
    gateways: tuple[GatewaySpec, ...] = ()
    secrets: tuple[SecretSpec, ...] = ()
    documents: tuple[Document, ...] = ()
