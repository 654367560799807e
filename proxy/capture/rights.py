"""What Envoy needs of the kernel in capture `redirect`, beside rules: the right to mark its sockets and to be anybody.

Both are CAP_NET_ADMIN over the network it is in, which children of root have; those of others only if it is ambient.
"""

import subprocess
import sys

from core.errors import Misconfigured
from core.model.workload import Capture, Redirected

TRIAL = "import socket; s = socket.socket(); s.setsockopt(1, 36, 1); s.setsockopt(0, 19, 1)"
"""SO_MARK; IP_TRANSPARENT, which binds addresses of others (ip(7)). Linux's numbers; Python has no name for one."""

_FIX = (
    "run it as root, or with that right alone: sudo setpriv --reuid=1337 --regid=1337 --clear-groups"
    " --inh-caps=+net_admin --ambient-caps=+net_admin istio-agent run ..."
)


def check(capture: Capture) -> None:
    """Raises `Misconfigured` when a child of this process may not do what this capture takes; tries it, in 20 ms."""
    if not isinstance(capture, Redirected) or not (capture.transparent or capture.mark):
        return
    done = subprocess.run([sys.executable, "-I", "-S", "-c", TRIAL], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        wish = "call its application as its callers (TPROXY)" if capture.transparent else "mark its connections"
        raise Misconfigured(f"Envoy may not {wish}: it has no CAP_NET_ADMIN here", fix=_FIX)
