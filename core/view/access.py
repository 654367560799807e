"""What is checked of a caller before it is served: policies in the order in which they are asked."""

import msgspec

from core.ir.access import Action, Clause
from core.model.config import Origin


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a document. `name` is what proxies say when it decided (Istio's: `ns[x]-policy[y]-rule[0]`)."""

    name: str
    clause: Clause
    origin: Origin


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """ALLOW: refuses whom no policy is for. DENY: refuses whom one is for. AUDIT: marks those.

    `dry_run`: only tells what it would have done.
    """

    action: Action
    policies: tuple[Policy, ...]
    dry_run: bool = False
