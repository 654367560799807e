"""gRPC's own bootstrap (gRFC A27): who an application is, whom it asks, which files it shows; and where that is kept.

Not for Envoy's, which is `bootstrap`.
"""

from pathlib import Path

from core.model.identity import CERTIFICATE
from core.model.mesh import Mesh
from core.model.workload import Workload, node_id
from proxy.bootstrap import Elsewhere
from proxy.envoy_process import Files
from proxy.identity.pem import CHAIN, KEY, REFRESH, ROOTS

Json = dict[str, object]

SERVER_TEMPLATE = "grpc/server?xds.resource.listening_address=%s"
"""How a server asks the Manager for its listener (gRFC A36); the Manager answers to this form alone."""


class GrpcFiles(Files, frozen=True):
    """As an agent's others, with the bootstrap under a name of its own."""

    @property
    def bootstrap(self) -> Path:
        return self.directory / "grpc-bootstrap.json"

    @property
    def relay(self) -> Path:
        """The socket in front of the Managers'."""
        return self.directory / "xds.sock"

    def volatile(self) -> tuple[Path, ...]:
        return (*super().volatile(), self.relay)


def grpc_bootstrap(workload: Workload, mesh: Mesh, *, xds: str | Elsewhere, certificates: Path | None) -> Json:
    """gRPC's bootstrap (gRFC A27, A29, A36): who it is, where its configuration comes from, which files it shows."""
    where = workload.locality
    node = {
        "id": node_id(workload, mesh.domain_suffix),
        "cluster": f"{workload.labels.get('app') or workload.key.name}.{workload.key.namespace}",
        "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.subzone},
        "metadata": {"NAME": workload.key.name, "NAMESPACE": workload.key.namespace, "GENERATOR": "grpc"},
    }
    return {
        "xds_servers": [{**_server(xds, certificates), "server_features": ["xds_v3"]}],
        "node": node,
        "server_listener_resource_name_template": SERVER_TEMPLATE,
        **({"certificate_providers": _providers(certificates)} if certificates is not None else {}),
    }


def _server(xds: str | Elsewhere, certificates: Path | None) -> Json:
    """On this machine the workload's own socket; elsewhere by mutual TLS, the Manager known by its name."""
    if isinstance(xds, str):
        return {"server_uri": f"unix:{xds}", "channel_creds": [{"type": "insecure"}]}
    config = _files(certificates) if certificates is not None else {}
    return {"server_uri": f"dns:///{xds.host}:{xds.port}", "channel_creds": [{"type": "tls", "config": config}]}


def _providers(certificates: Path) -> Json:
    return {CERTIFICATE: {"plugin_name": "file_watcher", "config": _files(certificates)}}


def _files(certificates: Path) -> Json:
    return {
        "certificate_file": str(certificates / CHAIN),
        "private_key_file": str(certificates / KEY),
        "ca_certificate_file": str(certificates / ROOTS),
        "refresh_interval": f"{REFRESH:g}s",
    }
