"""The HTTP filter that refuses requests by policy: 403, `RBAC: access denied`; to gRPC, PERMISSION_DENIED."""

from collections.abc import Iterable

from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from core.envoy import authorization
from core.envoy.any import typed
from core.view.access import Check

SHADOW = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_", "AUDIT": "istio_dry_run_audit_"}
"""What the names of metrics and of dynamic metadata of dry runs begin with (Istio)."""


_NAME = "envoy.filters.http.rbac"


def http_filters(checks: Iterable[Check]) -> tuple[hcm_pb2.HttpFilter, ...]:
    """All of one name, which is Istio's."""
    return tuple(hcm_pb2.HttpFilter(name=_NAME, typed_config=typed(_config(each))) for each in checks)


def grpc_filters(checks: Iterable[Check]) -> tuple[hcm_pb2.HttpFilter, ...]:
    """gRPC wants a name of its own for each."""
    return tuple(
        hcm_pb2.HttpFilter(name=f"{_NAME}.{each.action.lower()}", typed_config=typed(_config(each))) for each in checks
    )


def _config(check: Check) -> rbac_pb2.RBAC:
    rules = authorization.rules(check)
    if check.dry_run:
        return rbac_pb2.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=SHADOW[check.action])
    return rbac_pb2.RBAC(rules=rules)
