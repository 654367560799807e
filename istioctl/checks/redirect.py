"""Capture `redirect`: network namespaces and rules of the kernel, which not every machine lets its users have."""

import subprocess
from collections.abc import Callable

import msgspec

from core.errors import MeshError, Misconfigured
from istioctl.checks.verdict import Verdict, doubtful, failed, good
from proxy.capture.apply import available, program
from proxy.capture.support import require, require_tproxy

NEEDED = ("ip", "unshare", "nsenter")

PATIENCE = 5.0
"""Seconds for what takes some hundredths."""

_REDIRECT = "-t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001"
_TABLE = "table ip t { chain c { type nat hook output priority -100; tcp dport 1 redirect to :15001; }; }"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong; None: nothing. `missing`: programs; `refused`: namespaces; `rules`: a rule that redirects;
    `tproxy`: rules that do not, for who wants to know its callers.
    """

    missing: MeshError | None = None
    refused: MeshError | None = None
    rules: str = ""
    tproxy: MeshError | None = None


def gather() -> Facts:
    """Blocks for some 0.3 s: everything is tried in namespaces of its own, which are gone afterwards."""
    missing = next(filter(None, map(_trouble, (*(_finds(name) for name in NEEDED), available))), None)
    if missing:
        return Facts(missing=missing)
    refused = _trouble(require)
    if refused:
        return Facts(refused=refused)
    return Facts(rules=_rule(), tproxy=_trouble(require_tproxy))


def _finds(name: str) -> Callable[[], object]:
    return lambda: program(name)


def _trouble(attempt: Callable[[], object]) -> MeshError | None:
    try:
        attempt()
    except MeshError as error:
        return error
    except (OSError, subprocess.SubprocessError) as error:
        return Misconfigured(str(error))
    return None


def _rule() -> str:
    """Why no connection can be redirected; "" when it can."""
    back_end = available()
    words = _REDIRECT.split() if "iptables" in str(back_end) else [_TABLE]
    try:
        command = [program("unshare"), "-Urn", program(str(back_end)), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (MeshError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """What depends on something that is not there is not looked at."""
    programs, namespaces = "the programs that redirect needs are installed", "this user may make network namespaces"
    if facts.missing:
        return (_failed(programs, facts.missing),)
    if facts.refused:
        return good(programs), _failed(namespaces, facts.refused)
    return good(programs), good(namespaces), _rules(facts), _tproxy(facts)


def _failed(text: str, error: MeshError) -> Verdict:
    return failed(text, str(error), fix=error.fix or "use capture none, which needs nothing of this")


def _rules(facts: Facts) -> Verdict:
    text = "the kernel redirects connections inside a namespace"
    if not facts.rules:
        return good(text)
    fix = "sudo modprobe -a nf_nat nft_redir xt_REDIRECT; or use capture none, which needs no rules"
    return failed(text, facts.rules, fix=fix)


def _tproxy(facts: Facts) -> Verdict:
    """Only some want it, by name."""
    text = "with --interception TPROXY, too"
    return doubtful(text, str(facts.tproxy), fix=facts.tproxy.fix) if facts.tproxy else good(text)
