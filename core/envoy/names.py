"""Names that Envoy and its control plane share: resource types and extensions. Imports no protos.

Not for names of clusters, routes and listeners: the compiler chooses those (`core.compiler.names`).
"""

TYPE_PREFIX = "type.googleapis.com/"

CLUSTER = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
LOAD_ASSIGNMENT = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

PUSH_ORDER = (CLUSTER, LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, SECRET)
"""Additions go out in this order (Envoy documentation, "Eventual consistency considerations")."""

SERVER_NAME = "istio-envoy"

FAULT = "envoy.filters.http.fault"
"""Also the key of a route's own settings of that filter."""
