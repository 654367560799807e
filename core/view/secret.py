"""Secrets: certificates that a proxy asks the Manager for, by name. The identities of workloads are not among them."""

import msgspec

from core.model.secret import Sealed


class Inline(msgspec.Struct, frozen=True, tag=True):
    content: Sealed


class InFile(msgspec.Struct, frozen=True, tag=True):
    """A file on the proxy's host, which it reads by itself and again when that changes."""

    path: str


Pem = Inline | InFile


class Certificate(msgspec.Struct, frozen=True, tag=True):
    """What a server shows: `chain`, its own certificate first, and the key to it."""

    name: str
    chain: Pem
    key: Pem


class Roots(msgspec.Struct, frozen=True, tag=True):
    """By which certificates callers are known."""

    name: str
    certificates: Pem


Shown = Certificate | Roots
