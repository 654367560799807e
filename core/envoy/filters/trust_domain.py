"""The HTTP filter by which a gRPC server refuses callers of other trust domains that the same roots vouch for.

Its TLS cannot ask for names (gRFC A29). Not for Envoy, which asks for them in the handshake.
"""

from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2

from core.envoy.any import typed


def members_of(trust_domain: str) -> hcm_pb2.HttpFilter:
    """Calls of anybody else are refused: PERMISSION_DENIED."""
    name = string_pb2.StringMatcher(prefix=f"spiffe://{trust_domain}/")
    policy = rules_pb2.Policy(
        permissions=[rules_pb2.Permission(any=True)],
        principals=[rules_pb2.Principal(authenticated=rules_pb2.Principal.Authenticated(principal_name=name))],
    )
    rules = rules_pb2.RBAC(action=rules_pb2.RBAC.ALLOW, policies={"trust-domain": policy})
    config = rbac_pb2.RBAC(rules=rules)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.rbac.trust_domain", typed_config=typed(config))
