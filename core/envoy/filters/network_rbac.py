"""The network filter that closes connections by policy, when the caller has sent its first bytes."""

from collections.abc import Iterable

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2

from core.envoy import authorization
from core.envoy.any import typed
from core.envoy.filters.rbac import SHADOW
from core.view.access import Check

_STATS = "tcp."
"""What the names of its metrics begin with (Istio)."""


def network_filters(checks: Iterable[Check]) -> tuple[listener_pb2.Filter, ...]:
    return tuple(_filter(each) for each in checks)


def _filter(check: Check) -> listener_pb2.Filter:
    rules = authorization.rules(check)
    if check.dry_run:
        prefix = SHADOW[check.action]
        config = rbac_pb2.RBAC(stat_prefix=_STATS, shadow_rules=rules, shadow_rules_stat_prefix=prefix)
    else:
        config = rbac_pb2.RBAC(stat_prefix=_STATS, rules=rules)
    return listener_pb2.Filter(name="envoy.filters.network.rbac", typed_config=typed(config))
