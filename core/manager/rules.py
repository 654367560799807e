"""What a document is in force as, and the tables of the rules that touch nothing but their own index.

`World` decides when they are written; nobody else does.
"""

from typing import TypeVar

from core.compiler.inputs import Inputs, selector_key
from core.ir.access import AccessRule
from core.ir.declared import Declaration
from core.ir.gateway import GatewayRule
from core.ir.lowered import Lowered
from core.ir.routing import RouteRule
from core.ir.security import PeerRule
from core.ir.traffic import DestinationPolicy
from core.model.config import ConfigKey

T = TypeVar("T")

Rules = tuple[
    RouteRule | None,
    DestinationPolicy | None,
    Declaration | None,
    GatewayRule | None,
    PeerRule | None,
    AccessRule | None,
]
"""What one document is in force as."""

NO_RULES: Rules = (None, None, None, None, None, None)


def rules_of(lowered: Lowered) -> Rules:
    """A document becomes one rule, of the type that belongs to its kind."""
    found = lowered.rules or lowered.instead
    return (
        _only(found, RouteRule),
        _only(found, DestinationPolicy),
        _only(found, Declaration),
        _only(found, GatewayRule),
        _only(found, PeerRule),
        _only(found, AccessRule),
    )


def _only(rules: tuple[object, ...], type_: type[T]) -> T | None:
    return next((rule for rule in rules if isinstance(rule, type_)), None)


def in_force(inputs: Inputs, key: ConfigKey) -> Rules:
    return (
        inputs.route_rules.get(key),
        inputs.policies.get(key),
        inputs.declarations.get(key),
        inputs.gateways.get(key),
        inputs.peer_rules.get(key),
        inputs.access_rules.get(key),
    )


def put_gateway(inputs: Inputs, key: ConfigKey, gateway: GatewayRule | None) -> None:
    old = inputs.gateways.get(key)
    if gateway is not None:
        inputs.gateways_by_label.add(selector_key(gateway.selector), key)
        inputs.gateways.put(key, gateway)
    if old is not None and (gateway is None or selector_key(gateway.selector) != selector_key(old.selector)):
        inputs.gateways_by_label.discard(selector_key(old.selector), key)
    if gateway is None:
        inputs.gateways.remove(key)


def put_peers(inputs: Inputs, key: ConfigKey, rule: PeerRule | None) -> None:
    """A rule holds in the namespace of its document."""
    if rule is None:
        inputs.peer_rules.remove(key)
        inputs.peer_rules_by_namespace.discard(key.namespace, key)
    else:
        inputs.peer_rules.put(key, rule)
        inputs.peer_rules_by_namespace.add(key.namespace, key)


def put_access(inputs: Inputs, key: ConfigKey, rule: AccessRule | None) -> None:
    old = inputs.access_rules.get(key)
    if rule is not None:
        inputs.access_rules_by_target.add(_target(rule), key)
        inputs.access_rules.put(key, rule)
    if old is not None and (rule is None or _target(rule) != _target(old)):
        inputs.access_rules_by_target.discard(_target(old), key)
    if rule is None:
        inputs.access_rules.remove(key)


def _target(rule: AccessRule) -> tuple[str, str]:
    return rule.namespace, selector_key(rule.labels)
