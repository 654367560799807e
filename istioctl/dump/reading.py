"""A dump: Envoy's answer to `/config_dump?include_eds` or `/clusters?format=json`, or both in one object."""

from typing import NamedTuple, TypeVar

import msgspec

from core.errors import Misconfigured

T = TypeVar("T", bound=msgspec.Struct)

TAKE_ONE = "save one with: istioctl proxy-config all WORKLOAD -o json > config_dump.json"


KEYS = frozenset({"private_key", "password", "generic_secret", "session_ticket_keys", "pkcs12"})
"""Fields of `extensions.transport_sockets.tls.v3` that hold what must stay secret."""

REDACTED = "[redacted]"


def _redacted(value: object) -> object:
    if isinstance(value, dict):
        return {name: REDACTED if name in KEYS else _redacted(each) for name, each in value.items()}
    return [_redacted(each) for each in value] if isinstance(value, list) else value


class Tagged(msgspec.Struct, frozen=True):
    """An `Any` of protobuf in JSON: it says its type."""

    url: str = msgspec.field(name="@type", default="")

    @property
    def kind(self) -> str:
        """`ClustersConfigDump`"""
        return self.url.rpartition(".")[2]


class _Whole(msgspec.Struct, frozen=True):
    configs: tuple[msgspec.Raw, ...] = ()
    cluster_statuses: tuple[msgspec.Raw, ...] | None = None


class Item(NamedTuple):
    """Something in a dump: as it is there, and its rows in a table."""

    raw: object
    rows: tuple[tuple[str, ...], ...]


class Dump:
    """`name` is what people know it by; `statuses` is what `/clusters` says, None when that was not asked."""

    def __init__(self, content: bytes, *, name: str) -> None:
        """Raises `Misconfigured` when it is no dump."""
        self.name = name
        whole = self.read(msgspec.Raw(content), _Whole)
        if not whole.configs and whole.cluster_statuses is None:
            raise Misconfigured(f"{name} is no dump of Envoy's configuration: it has no configs", fix=TAKE_ONE)
        self.configs = whole.configs
        self.statuses = whole.cluster_statuses
        self._parts = {self.read(each, Tagged).kind: each for each in whole.configs}

    def part(self, kind: str, shape: type[T]) -> T:
        """One of the dump's configs by the name of its type, for example `RoutesConfigDump`; an empty one if absent."""
        return self.read(self._parts.get(kind, msgspec.Raw(b"{}")), shape)

    def read(self, raw: msgspec.Raw, shape: type[T]) -> T:
        """Raises `Misconfigured` when it has another form than Envoy's."""
        try:
            return msgspec.json.decode(raw, type=shape)
        except msgspec.DecodeError as error:
            raise Misconfigured(f"{self.name} is no dump of Envoy's configuration: {error}", fix=TAKE_ONE) from error

    def whole(self) -> dict[str, object]:
        """All of it but keys, in the form that this class reads."""
        statuses = {} if self.statuses is None else {"cluster_statuses": self.statuses}
        return {"configs": tuple(map(self.without_keys, self.configs)), **statuses}

    def without_keys(self, raw: msgspec.Raw) -> object:
        """As it is, but for what nobody may see. Envoy takes it out by itself; a dump may come from anywhere."""
        held = bytes(raw)
        return _redacted(msgspec.json.decode(held)) if any(f'"{name}"'.encode() in held for name in KEYS) else raw


class Filters(NamedTuple):
    """What the user wants to see; empty text stands for everything. `fqdn` and `cluster` are parts of names."""

    fqdn: str = ""
    port: str = ""
    subset: str = ""
    direction: str = ""
    name: str = ""
    cluster: str = ""
    status: str = ""
    address: str = ""
    type: str = ""

    def wants(self, **found: object) -> bool:
        """Whether every filter that is set has this very value, letters of either case."""
        return all(not (wish := getattr(self, name)) or _same(wish, value) for name, value in found.items())


def _same(wish: object, value: object) -> bool:
    return str(wish).lower() == str(value).lower()
