"""The config API: rules as Kubernetes objects, so that a laptop and a cluster look alike; by unix socket and HTTPS.

`objects` and `failures` are the wire form and import no server, because istioctl speaks it too.
Not for proxies: those speak xDS, each over a socket of its own.
"""

SOCKET = "api.sock"
"""Name of the API's socket in the state directory."""

OWN = "own"
"""Query parameter of `/status`: only what the Manager that is asked knows itself."""
