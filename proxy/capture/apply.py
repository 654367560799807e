"""Puts rules into the kernel, of the network namespace it runs in, and takes them out again. Needs CAP_NET_ADMIN."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal

from core.errors import MeshError, Misconfigured
from proxy.capture import iptables, nft
from proxy.capture.policy import Policy, checked
from proxy.capture.rules import Table, tables

Backend = Literal["nft", "iptables"]

PACKAGES = {"ip": "iproute2", "nft": "nftables", "iptables": "iptables", "unshare": "util-linux"}
"""Which package of Debian and Ubuntu brings a program."""

_TABLES: tuple[tuple[str, str], ...] = (("iptables", "nat"), ("iptables", "mangle"), ("ip6tables", "filter"))
_ROUTING_TABLE = "133"
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/usr/local/sbin"
"""An ordinary user's PATH often lacks the directories where these programs are."""


def program(name: str) -> str:
    """Its path. Raises `Misconfigured` with the command that installs it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        package = PACKAGES.get(name.removesuffix("-restore").removesuffix("-save").replace("ip6", "ip"), name)
        raise Misconfigured(f"the program `{name}` is not installed", fix=f"run: sudo apt-get install -y {package}")
    return found


def available() -> Backend:
    """The first back end that is installed. Raises `Misconfigured` when none is."""
    for name in ("nft", "iptables-restore"):
        if shutil.which(name, path=_PATH):
            return "nft" if name == "nft" else "iptables"
    text = "neither `nft` nor `iptables` is installed"
    raise Misconfigured(text, fix="run: sudo apt-get install -y nftables")


def apply(policy: Policy, backend: Backend) -> None:
    """Replaces whatever of ours is in force, each table at one stroke. Raises `MeshError` with the tool's words."""
    put(tables(checked(policy)), backend)
    _route(policy)


def put(wanted: Sequence[Table], backend: Backend) -> None:
    """Replaces whatever of ours is in force by these tables. Raises `MeshError`."""
    if backend == "nft":
        run([program("nft"), "-f", "-"], nft.replaced(wanted))
    else:
        _restore(wanted)


def clean(backend: Backend) -> None:
    """Takes out everything of ours; nothing to take out is as well."""
    if backend == "nft":
        run([program("nft"), "-f", "-"], nft.removed())
    else:
        _restore(())
    _unroute()


def text(policy: Policy, backend: Backend) -> str:
    """What `apply` would hand to the tool on a machine without rules."""
    wanted = tables(checked(policy))
    if backend == "nft":
        return nft.replaced(wanted)
    return "".join(f"# {_tool(table)}-restore --noflush\n{iptables.replaced(table, '')}" for table in wanted)


def _restore(wanted: Sequence[Table]) -> None:
    by_place: dict[tuple[str, str], Table] = {(_tool(table), table.name): table for table in wanted}
    for tool, name in _TABLES:
        saved = run([program(f"{tool}-save"), "-t", name])
        table = by_place.get((tool, name))
        change = iptables.removed(name, saved) if table is None else iptables.replaced(table, saved)
        if change:
            run([program(f"{tool}-restore"), "--noflush"], change)


def _tool(table: Table) -> str:
    return "iptables" if table.family == "ip" else "ip6tables"


def _route(policy: Policy) -> None:
    """TPROXY leaves addresses as they are: marked packets have to be taken for the machine's own."""
    _unroute()
    if policy.mode == "tproxy":
        mark = str(policy.tproxy_mark)
        run([program("ip"), "rule", "add", "fwmark", mark, "lookup", _ROUTING_TABLE])
        run([program("ip"), "route", "add", "local", "default", "dev", "lo", "table", _ROUTING_TABLE])


def _unroute() -> None:
    rules = run([program("ip"), "rule", "show"])
    for _ in range(rules.count(f"lookup {_ROUTING_TABLE}")):
        run([program("ip"), "rule", "del", "lookup", _ROUTING_TABLE])
    if f"lookup {_ROUTING_TABLE}" in rules:
        run([program("ip"), "route", "flush", "table", _ROUTING_TABLE])


def run(argv: Sequence[str], stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What the program prints. Raises `MeshError` when it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:400]
        raise MeshError(f"`{' '.join(argv)}` failed: {said or f'exit code {done.returncode}'}", fix=_advice(said))
    return done.stdout


TPROXY_MODULES = "sudo modprobe -a nf_tproxy_ipv4 nft_tproxy xt_TPROXY xt_connmark"
"""What brings TPROXY into a kernel that has it as modules; one in a container cannot load them by itself."""


def _advice(said: str) -> str:
    if "permitted" in said or "Permission denied" in said:
        return "run it as root, or within a network namespace of your own (unshare -Urnm)"
    return f"run: {TPROXY_MODULES}" if "tproxy" in said.lower() else ""
