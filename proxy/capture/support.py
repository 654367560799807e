"""Whether this machine can give workloads networks of their own, and what to install or switch on when it cannot."""

import os
import subprocess
from pathlib import Path

from core.errors import Misconfigured
from proxy.capture.apply import available, program

_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("user.max_net_namespaces", "0", "15000"),
)
"""Settings that forbid user namespaces, with the values that forbid and allow it (Ubuntu 24; Debian; RHEL)."""

_TRIAL = 'set -e; "$0" link add dev mesh type bridge; "$0" link add dev pod1 type veth peer name pod2'


def require(*, own_user: bool = True) -> None:
    """Raises `Misconfigured` when capture `redirect` cannot work here. Takes some 20 ms: it is tried, not guessed."""
    ip, unshare = program("ip"), program("unshare")
    available()
    flags = "-Urnm" if own_user else "-nm"
    # A session of its own: Ctrl-C is for who asks, and must not look like a refusal.
    trial = [unshare, flags, "sh", "-c", _TRIAL, ip]
    done = subprocess.run(trial, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        raise refused(done.stderr)


def refused(said: str, *, sysctls: Path = Path("/proc/sys")) -> Misconfigured:
    """What to do about it when the kernel does not make namespaces; `said` are the words of the program that asked."""
    reason = " ".join(said.split()) or "no reason was given"
    text = f"this machine does not let user {os.getuid()} make network namespaces ({reason})"
    for name, forbidding, allowing in _SWITCHES:
        if _value(sysctls / name.replace(".", "/")) == forbidding:
            return Misconfigured(f"{text}: {name} is {forbidding}", fix=f"run: sudo sysctl -w {name}={allowing}")
    fix = "in a container, allow user namespaces (seccomp, AppArmor) or give it CAP_SYS_ADMIN; or use capture none"
    return Misconfigured(text, fix=fix)


def _value(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
