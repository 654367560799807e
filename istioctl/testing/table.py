"""Tables of calls: given services and rules, when this call is made, then that happens. How to write one:
docs/reference/call-tables.md. A file is decoded strictly; what is wrong is said with file and case.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import yaml

from core.model.service import WorkloadKey
from core.simulate import Call, Via

S = TypeVar("S", bound=msgspec.Struct)
Json = dict[str, object]


OUTSIDE_PORT = "$outside"
"""Stands in documents for the port of the outside server."""


class TableError(Exception):
    """A table that cannot be read; the message names file and case."""


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    pass


class CallSpec(_Spec, frozen=True):
    """`via` may list several ways in: then the case is made once for each. Port "outside" is that of the server on
    127.0.0.1 that is no part of the mesh. Via "gateway" it comes from outside to the workload `gateway`; with `sni`
    by HTTPS. Via "inbound" somebody without a proxy calls the workload `host`, with `tls` as proxies do: by a
    certificate of the mesh, of another authority, one that is over, for another trust domain, or without a name.
    """

    host: str
    source: str = msgspec.field(default="sleep-v1", name="from")
    port: int | Literal["outside"] = 80
    via: Via | tuple[Via, ...] = "proxy"
    protocol: Literal["http", "grpc", "tcp"] = "http"
    method: str = "GET"
    path: str = "/"
    authority: str = ""
    headers: dict[str, str | tuple[str, ...]] = {}
    gateway: str = "ingress"
    sni: str | None = None
    tls: Literal["mesh", "foreign", "expired", "elsewhere", "nameless"] | None = None


class Present(_Spec, frozen=True):
    """There, with any value."""

    present: Literal[True]


HeaderWish = str | Present | None
"""A text exactly, anything at all, or absent (null)."""


class MirrorSpec(_Spec, frozen=True):
    """`share` of the calls is copied to `app`, which sees this authority."""

    app: str
    authority: str
    share: float = 1.0


class Expect(_Spec, frozen=True):
    """What must be true of every call; `shares`, `reaches` and `sticks` are about all calls together.

    `peer` is whom the application sees as its caller: the URI of a certificate, "" where none was shown.
    Who answers is a workload, the status of an answer that a proxy gave by itself (gRPC: its name), or "closed".
    """

    app: str | None = None
    shares: dict[str, float] | None = None
    reaches: tuple[str, ...] | None = None
    sticks: Literal[True] | None = None
    status: int | None = None
    grpc: str | None = None
    flag: str | None = None
    closed: Literal[True] | None = None
    path: str | None = None
    authority: str | None = None
    request_headers: dict[str, HeaderWish] | None = None
    response_headers: dict[str, HeaderWish] | None = None
    location: str | None = None
    body: str | None = None
    delay: float | None = None
    within: float | None = None
    attempts: int | None = None
    mirrored: MirrorSpec | None = None
    peer: str | None = None


class Before(_Spec, frozen=True):
    """Calls made first, whose answers do not matter; headers as in `call`, which they replace."""

    times: int
    headers: dict[str, str]


class Otherwise(_Spec, frozen=True):
    """What is true instead, and why it cannot be as it is elsewhere. Without an expectation there is no such call."""

    why: str
    expect: Expect | None = None


class CaseSpec(_Spec, frozen=True):
    """`redirect`: where the kernel leads calls into their proxy, this one comes to something else."""

    name: str
    call: CallSpec
    expect: Expect
    why: str = ""
    rules: tuple[Json, ...] = ()
    before: Before | None = None
    times: int | None = None
    lines: int | None = None
    only: Literal["envoy"] | None = None
    redirect: Otherwise | None = None


class GroupSpec(_Spec, frozen=True):
    name: str
    cases: tuple[Json, ...]
    rules: tuple[Json, ...] = ()


class TableSpec(_Spec, frozen=True):
    groups: tuple[GroupSpec, ...]
    rules: tuple[Json, ...] = ()


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One call as a table says it. `rules` are documents as YAML text. `call.port` 0 stands for the outside server."""

    table: str
    group: str
    spec: CaseSpec
    call: Call
    rules: str

    @property
    def id(self) -> str:
        ways = self.spec.call.via
        way = (self.call.via,) if isinstance(ways, tuple) else ()
        return "/".join((self.table, self.group, self.spec.name, *way))

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for all its ways in."""
        return self.table, self.group, self.spec.name

    @property
    def expect(self) -> Expect:
        return self.spec.expect


def load(folder: Path) -> tuple[Case, ...]:
    """The cases of every table in `folder`, in order. `mesh.yaml` is none. Raises `TableError`."""
    files = sorted(path for path in folder.glob("*.yaml") if path.name != "mesh.yaml")
    return tuple(case for path in files for case in decode(path.read_text(), file=path.name))


def captured(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The same cases as they are in capture `redirect`: callers know of no way in, so that of several one is left."""
    found = {case.key: case for case in reversed(tuple(cases))}
    return tuple(_captured(case) for case in reversed(found.values()) if _has_captured(case.spec))


def _has_captured(spec: CaseSpec) -> bool:
    return spec.redirect is None or spec.redirect.expect is not None


def _captured(case: Case) -> Case:
    via: Via = case.call.via if case.call.via in ("gateway", "inbound") else "captured"
    spec = msgspec.structs.replace(case.spec, call=msgspec.structs.replace(case.spec.call, via=via))
    if spec.redirect is not None and spec.redirect.expect is not None:
        spec = msgspec.structs.replace(spec, expect=spec.redirect.expect)
    return msgspec.structs.replace(case, spec=spec, call=msgspec.structs.replace(case.call, via=via))


def decode(text: str, *, file: str) -> tuple[Case, ...]:
    """The cases of one table. Raises `TableError`."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TableError(f"{file}: is not YAML: {error}") from error
    table = _convert(raw, TableSpec, where=file)
    cases = tuple(case for group in table.groups for case in _group(group, table, file))
    if twice := sorted({case.id for case in cases if sum(case.id == other.id for other in cases) > 1}):
        raise TableError(f"{file}: {twice[0]}: two cases have this name")
    return cases


def _group(group: GroupSpec, table: TableSpec, file: str) -> Iterator[Case]:
    for raw in group.cases:
        where = f"{file}: {group.name}: {raw.get('name', 'a case without a name')}"
        spec = _convert(raw, CaseSpec, where=where)
        _check(spec, where)
        rules = _text((*table.rules, *group.rules, *spec.rules))
        name = file.removesuffix(".yaml")
        for via in _ways(spec.call):
            yield Case(table=name, group=group.name, spec=spec, call=_call(spec.call, via), rules=rules)


def _ways(call: CallSpec) -> tuple[Via, ...]:
    return call.via if isinstance(call.via, tuple) else (call.via,)


def _convert(raw: object, type_: type[S], *, where: str) -> S:
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        raise TableError(f"{where}: {error}") from error


def _check(spec: CaseSpec, where: str) -> None:
    expect, call = spec.expect, spec.call
    if expect == Expect():
        raise TableError(f"{where}: expects nothing")
    if expect.shares is not None and abs(sum(expect.shares.values()) - 1) > 1e-9:
        raise TableError(f"{where}: the shares do not add up to 1")
    if call.protocol != "http" and "proxy" in _ways(call):
        raise TableError(f"{where}: {call.protocol} cannot be called via proxy; use tunnel or virtual")
    beyond = [name for name in ("sticks", "attempts", "peer") if getattr(expect, name) is not None]
    if spec.before or beyond:
        _only_envoy(spec, where)


def _only_envoy(spec: CaseSpec, where: str) -> None:
    if spec.only != "envoy":
        raise TableError(f"{where}: before, sticks, attempts and peer cannot be simulated; say `only: envoy`")


def _call(spec: CallSpec, via: Via) -> Call:
    called = {"gateway": spec.gateway, "inbound": spec.host}
    name, _, namespace = called.get(via, spec.source).partition(".")
    return Call(
        source=WorkloadKey(namespace or "default", name),
        sni=spec.sni,
        shown=spec.tls,
        host=spec.host,
        port=spec.port if isinstance(spec.port, int) else 0,
        via=via,
        protocol=spec.protocol,
        method=spec.method,
        path=spec.path,
        authority=spec.authority,
        headers=pairs(spec.headers),
    )


def pairs(headers: dict[str, str | tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    """One pair for each value."""
    several = ((name, (values,) if isinstance(values, str) else values) for name, values in headers.items())
    return tuple((name, value) for name, values in several for value in values)


def _text(rules: tuple[Json, ...]) -> str:
    return yaml.safe_dump_all(rules, sort_keys=False) if rules else ""
