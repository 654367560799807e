"""How connections are secured: what a proxy demands of callers, and what it shows and demands when it calls."""

import msgspec

from core.model.identity import SpiffeId

MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What sidecars offer each other by ALPN when they carry HTTP inside mutual TLS; who offers others is not of a mesh."""

MESH_TCP = ("istio-peer-exchange", "istio")
"""The same for bytes that are not known to be HTTP."""


class NoTls(msgspec.Struct, frozen=True, tag=True):
    """Plain bytes, or TLS that is the application's own business."""


NO_TLS = NoTls()


class MeshServer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Mutual TLS inside the mesh: shows the workload's certificate and asks for a workload's of `trust_domain`.

    The mesh's roots may have signed other certificates, too: for hosts, or for workloads of another mesh.
    `protocols`: what is agreed on by ALPN, best first.
    """

    trust_domain: str = "cluster.local"
    protocols: tuple[str, ...] = ()


class Terminate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ends TLS with a certificate of a gateway (Gateway `tls.mode: SIMPLE`, `MUTUAL`).

    `secret` is the name under which the proxy asks for the certificate, `roots` the one for its callers' roots; ""
    asks callers for none. Versions are as in `Gateway.servers.tls` ("" is the default: 1.2 at least).
    """

    secret: str
    roots: str = ""
    protocols: tuple[str, ...] = ("h2", "http/1.1")
    min_version: str = ""
    max_version: str = ""
    ciphers: tuple[str, ...] = ()


ServerSecurity = NoTls | MeshServer | Terminate


class MeshClient(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Mutual TLS inside the mesh: the other side must show one of `identities`.

    Without identities nobody is trusted: there is nobody to call. `sni` is `outbound_.<port>_.<subset>_.<host>`.
    `protocols`: what is offered by ALPN, best first.
    """

    sni: str
    identities: tuple[SpiffeId, ...]
    protocols: tuple[str, ...] = MESH_TCP


class Automatic(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Mutual TLS with those endpoints that have it (`Endpoint.mutual`), plain bytes with all others."""

    mesh: MeshClient


class Originate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """TLS to a server that is no part of the mesh (DestinationRule `tls.mode: SIMPLE`, `MUTUAL`).

    Paths are of files on the proxy's host. `roots` "" means the system's. `sni` "" is taken from the request's host.
    `names`: one of these must stand in the server's certificate; none: whatever `sni` says. `verify` False trusts all.
    """

    sni: str = ""
    names: tuple[str, ...] = ()
    roots: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


ClientSecurity = NoTls | MeshClient | Automatic | Originate
