"""The parts of Envoy's configuration that several tables show. Field names are Envoy's; all others are passed over."""

import msgspec


class SocketAddress(msgspec.Struct, frozen=True):
    address: str = ""
    port_value: int = 0


class Pipe(msgspec.Struct, frozen=True):
    path: str = ""


class InternalAddress(msgspec.Struct, frozen=True):
    server_listener_name: str = ""


class Address(msgspec.Struct, frozen=True):
    """`config.core.v3.Address`"""

    socket_address: SocketAddress | None = None
    pipe: Pipe | None = None
    envoy_internal_address: InternalAddress | None = None

    @property
    def host(self) -> str:
        if self.socket_address:
            return self.socket_address.address
        if self.pipe:
            return f"unix://{self.pipe.path}"
        return f"internal://{self.envoy_internal_address.server_listener_name}" if self.envoy_internal_address else "-"

    @property
    def port(self) -> int:
        """0 for an address without ports."""
        return self.socket_address.port_value if self.socket_address else 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.socket_address else self.host
        return f"{host}:{self.port}" if self.socket_address else self.host


class ServiceName(msgspec.Struct, frozen=True):
    host: str = ""


class IstioMetadata(msgspec.Struct, frozen=True):
    """What the compiler writes for tools: the document behind it as a path, and the services."""

    config: str = ""
    services: tuple[ServiceName, ...] = ()

    @property
    def document(self) -> str:
        """`reviews.default`; "" when no document is behind it."""
        parts = self.config.strip("/").split("/")
        return f"{parts[-1]}.{parts[-3]}" if len(parts) >= 3 and "namespaces" in parts else ""


class FilterMetadata(msgspec.Struct, frozen=True):
    istio: IstioMetadata = IstioMetadata()


class Metadata(msgspec.Struct, frozen=True):
    filter_metadata: FilterMetadata = FilterMetadata()

    @property
    def istio(self) -> IstioMetadata:
        return self.filter_metadata.istio
