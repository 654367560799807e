"""Several objects at once on the wire: all are written, or none. No server in here, because istioctl speaks it too."""

from typing import Final, Literal

import msgspec

from core.manager.api.failures import Status

PATH: Final = "/v1/transactions"

LARGEST: Final = 32 * 1024 * 1024
"""Bytes of one transaction. An object in it is bound by the limits of every object."""


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One write. `object` names itself; to be removed it needs no spec.

    Its resource version is the stored one; without one, put means that there is none yet, and remove means at any.
    `set` is a put upon whatever is stored or not, if the object names no version.
    """

    verb: Literal["put", "set", "remove"] = "put"
    object: msgspec.Raw


class Transaction(msgspec.Struct, frozen=True):
    orders: tuple[Order, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one order. `resource_version` is the stored one, "" for what was removed.

    Of a rehearsal, what would become of it: the version is the one stored now, "" for none. Only there can an order be
    `refused`, and `failure` is the answer it would bring about.
    """

    outcome: Literal["created", "configured", "unchanged", "deleted", "refused"]
    resource_version: str = ""
    failure: Status | None = None


class Outcomes(msgspec.Struct, frozen=True):
    """In the order of the orders."""

    outcomes: tuple[Outcome, ...]
