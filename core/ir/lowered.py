"""What one document becomes: its rules, and what was found wrong with it."""

import msgspec

from core.diagnostics import Diagnostic
from core.ir.access import AccessRule
from core.ir.declared import Declaration
from core.ir.gateway import GatewayRule
from core.ir.routing import RouteRule
from core.ir.security import PeerRule
from core.ir.traffic import DestinationPolicy

Rule = RouteRule | DestinationPolicy | Declaration | GatewayRule | PeerRule | AccessRule
"""Everything a document may be lowered to."""


class Lowered(msgspec.Struct, frozen=True):
    """A document with an error has no rules: nothing of it takes effect.

    `instead`: what does, of a document that somebody relies on to keep callers out.
    """

    rules: tuple[Rule, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    instead: tuple[Rule, ...] = ()
