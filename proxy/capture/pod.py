"""Makes one pod: a network and a view of the file system of its own, with an address, names and rules. Blocking.

Runs in a child of the fabric's process, so that several are made at once; that child ends when the pod is made, and
the pod lives on in the descriptors which it hands back.
"""

import contextlib
import ipaddress
import os
import re
import socket
import sys
from pathlib import Path

import msgspec

from core.errors import MeshError
from proxy.capture import syscalls
from proxy.capture.apply import apply, program, run
from proxy.capture.wire import Add, Answer, Network, receive, send

BRIDGE = "mesh"
_SYSCTL = {
    "ip_unprivileged_port_start": "0",
    "conf/all/rp_filter": "0",
    "conf/default/rp_filter": "0",
}
"""Any port for any user; and answers may come from addresses that lead elsewhere, as with TPROXY."""


class Making(msgspec.Struct, frozen=True):
    """A pod in the making: the child at work, and the end where it will answer."""

    child: int
    end: socket.socket


def interface(number: int) -> str:
    """The name of the fabric's end of the cable to that pod."""
    return f"pod{number}"


def hardware(address: str) -> str:
    """The one MAC address that goes with an IPv4 address: when a pod takes the place of another one, its neighbours,
    who remember this for half a minute, are right. Raises `MeshError`."""
    try:
        return ":".join(f"{byte:02x}" for byte in (2, 0, *ipaddress.IPv4Address(address).packed))
    except ValueError as error:
        raise MeshError(f"a pod cannot have the address {address}: {error}", fix="write 198.18.0.1") from None


def begin(request: Add, number: int, network: Network) -> Making:
    """Starts a child that makes the pod."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        mine.close()
        _in_child(request, number, network, its)
    its.close()
    return Making(child, mine)


def finish(making: Making) -> tuple[int, int]:
    """Descriptors of the pod's network and mounts. Raises `MeshError` when there is none."""
    with making.end:
        content, files = receive(making.end)
    os.waitpid(making.child, 0)
    if not content:
        raise MeshError("the process that made the pod ended without a word")
    answer = msgspec.json.decode(content, type=Answer)
    if answer.error:
        raise MeshError(answer.error, fix=answer.fix)
    return files[0], files[1]


def destroy(number: int) -> None:
    """Takes the cable out; the rest goes with the last that uses it. Runs in the fabric's network."""
    with contextlib.suppress(MeshError):
        run([program("ip"), "link", "del", interface(number)])


def _in_child(request: Add, number: int, network: Network, end: socket.socket) -> None:
    """Never returns: nothing of the parent's event loop may run here."""
    try:
        files = _make(request, number, network)
        send(end, Answer(number=0), files)
    except MeshError as error:
        send(end, Answer(number=0, error=str(error), fix=error.fix))
    except OSError as error:
        send(end, Answer(number=0, error=f"cannot make the pod {request.name}: {error}"))
    finally:
        sys.stderr.flush()
        os._exit(0)


def _make(request: Add, number: int, network: Network) -> tuple[int, int]:
    fabric = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.unshare(syscalls.NEW_NETWORK | syscalls.NEW_MOUNTS)
    net, mounts = (os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("net", "mnt"))
    _configure()
    with syscalls.within(fabric):
        end = f"address {hardware(request.address)} netns /proc/{os.getpid()}/fd/{net}"
        command = f"link add {interface(number)} master {BRIDGE} up type veth peer name eth0 {end}"
        run([program("ip"), *command.split()])
    run([program("ip"), "-batch", "-"], _wiring(request, network))
    _names(request, network)
    if request.policy is not None:
        apply(request.policy, network.backend)
    return net, mounts


def _configure() -> None:
    """Where /proc/sys is read-only, as in containers, the defaults have to do."""
    for name, value in _SYSCTL.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/ipv4", name).write_text(value)


def _wiring(request: Add, network: Network) -> str:
    return (
        f"link set lo up\naddr add {request.address}/{network.prefix} dev eth0\nlink set eth0 up\n"
        f"route add default via {network.gateway}\n"
    )


def _names(request: Add, network: Network) -> None:
    """Files put over those of the machine, for this pod alone, so that names are asked for by DNS and nowhere else."""
    search = f"search {' '.join(request.search)}\n" if request.search else ""
    files = {"resolv.conf": f"nameserver {network.gateway}\n{search}options ndots:5 timeout:2\n"}
    with contextlib.suppress(FileNotFoundError):
        files["nsswitch.conf"] = _only_dns(Path("/etc/nsswitch.conf").read_text())
    syscalls.mount("tmpfs", "/tmp", "tmpfs")
    for name, content in files.items():
        Path("/tmp", name).write_text(content)
        syscalls.mount(f"/tmp/{name}", f"/etc/{name}", "bind")
    syscalls.unmount("/tmp")


def _only_dns(text: str) -> str:
    """Others (systemd-resolved) answer by unix socket, from outside the pod."""
    return re.sub(r"(?m)^hosts:.*$", "hosts: files dns", text)
