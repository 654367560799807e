"""Whether this machine can give workloads networks of their own, and what to install or switch on when it cannot."""

import os
import subprocess
import sys
from pathlib import Path

from core.errors import Misconfigured
from proxy.capture.apply import TPROXY_MODULES, available, program
from proxy.capture.rights import TRIAL

_SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("user.max_net_namespaces", "0", "15000"),
)
"""Settings that forbid user namespaces, with the values that forbid and allow it (Ubuntu 24; Debian; RHEL)."""

_TRIAL = 'set -e; "$0" link add dev mesh type bridge; "$0" link add dev pod1 type veth peer name pod2'
_TPROXY_TRIAL = """
"$1" link set lo up
"$0" -P -m proxy.capture apply --istio-inbound-interception-mode TPROXY --proxy-mark 1336
exec "$0" -I -S -c "$2"
"""


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


def require_tproxy(*, own_user: bool = True) -> None:
    """Raises `Misconfigured` when TPROXY cannot work here. Takes some 0.2 s: real rules, and a transparent socket."""
    flags = "-Urn" if own_user else "-n"
    trial = [program("unshare"), flags, "sh", "-ec", _TPROXY_TRIAL, sys.executable, program("ip"), TRIAL]
    quiet = {**os.environ, "XTABLES_LOCKFILE": "/dev/null"}  # the usual place is root's
    done = subprocess.run(trial, capture_output=True, text=True, env=quiet, check=False, start_new_session=True)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()).removeprefix("error: ")[:400]
        fix = f"run: {TPROXY_MODULES}; or do without TPROXY, and applications do not see who calls"
        raise Misconfigured(f"this kernel cannot do TPROXY: {said or f'exit code {done.returncode}'}", fix=fix)


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
