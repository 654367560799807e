"""Who may call whom, as documents say it (AuthorizationPolicy): what a call is compared with, and what follows.

Not for mutual TLS, which says how callers prove who they are (`security`).
"""

from typing import Literal

import msgspec

from core.ir.values import Exact, Prefix, Present, Regex
from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels

Action = Literal["AUDIT", "DENY", "ALLOW"]
"""In the order in which they are asked (Istio)."""


class Suffix(msgspec.Struct, frozen=True, tag=True):
    value: str


TextMatch = Exact | Prefix | Suffix | Regex


class Identity(msgspec.Struct, frozen=True, tag=True):
    """The SPIFFE ID in the caller's verified certificate. Who calls without mutual TLS has none."""

    match: TextMatch


class Address(msgspec.Struct, frozen=True, tag=True):
    """Whether the caller's address lies in `network` (CIDR).

    `of` "connection": who is connected; "request": who called first, by what proxies on the way wrote down.
    """

    network: str
    of: Literal["connection", "request"] = "connection"


class Never(msgspec.Struct, frozen=True, tag=True):
    """Asks for what no request has: identities in tokens, as long as nobody verifies them."""


class Destination(msgspec.Struct, frozen=True, tag=True):
    """Whether the workload was called at an address in `network` (CIDR)."""

    network: str


class Port(msgspec.Struct, frozen=True, tag=True):
    """At which of the workload's ports."""

    number: int


class ServerName(msgspec.Struct, frozen=True, tag=True):
    """The name that was asked for in the TLS handshake."""

    match: TextMatch


class Header(msgspec.Struct, frozen=True, tag=True):
    """`:authority` and `:method` are headers, too."""

    name: str
    match: TextMatch | Present


class UrlPath(msgspec.Struct, frozen=True, tag=True):
    """Without the query."""

    match: TextMatch


Source = Identity | Address | Never
Operation = Destination | Port | ServerName | Header | UrlPath


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """One of `any_of`, unless there are none, and none of `none_of`."""

    any_of: tuple[Source, ...] = ()
    none_of: tuple[Source, ...] = ()


class What(msgspec.Struct, frozen=True, kw_only=True):
    """As `Who`, of the operation."""

    any_of: tuple[Operation, ...] = ()
    none_of: tuple[Operation, ...] = ()


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """Holds when one of `sources` and one of `operations` does; of each, everything in it has to.

    An alternative without anything in it always holds; without alternatives nothing does.
    """

    sources: tuple[tuple[Who, ...], ...] = ((),)
    operations: tuple[tuple[What, ...], ...] = ((),)


class AccessRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one AuthorizationPolicy says of the workloads in `namespace` that `labels` select.

    In the root namespace it is for workloads of every namespace. `dry_run`: is evaluated, and nothing follows.
    """

    namespace: str
    labels: Labels = NO_LABELS
    action: Action
    clauses: tuple[Clause, ...]
    dry_run: bool = False
    created: float = 0.0
    origin: Origin
