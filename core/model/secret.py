"""Certificates with their keys, as a platform keeps them for gateways. Never the identities of workloads."""

import msgspec


class Sealed(msgspec.Struct, frozen=True):
    """Bytes that nobody may see: they do not print."""

    value: bytes

    def __repr__(self) -> str:
        return "<redacted>"

    __str__ = __repr__


class SecretKey(msgspec.Struct, frozen=True, order=True):
    """A secret is known by its name within a namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """All in PEM: `chain` with the server's certificate first, its `key`, and `roots` by which callers are known.

    `roots` b"": there are none. `problem` says why a platform could not read it; then nothing else is to be used.
    """

    name: SecretKey
    chain: bytes = b""
    key: Sealed = Sealed(b"")
    roots: bytes = b""
    problem: str = ""
