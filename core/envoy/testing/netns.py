"""A network namespace of one's own, made without privileges, and sockets in it for tests that stay outside.

A socket belongs to the namespace it was made in, whoever holds it: so servers and clients of a test run in the test's
process, and only Envoy and the kernel's rules are inside. Not for the mesh itself (`proxy.capture`).
"""

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

_INSIDE = """
import array, json, socket, subprocess, sys
line, children = socket.socket(fileno=int(sys.argv[1])), []
for text in line.makefile("r"):
    order = json.loads(text)
    if "kind" in order:
        made = socket.socket(socket.AF_INET, order["kind"])
        line.sendmsg([b"{}\\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
        made.close()
        continue
    if order["wait"]:
        done = subprocess.run(order["command"], capture_output=True, text=True)
        answer = {"code": done.returncode, "out": done.stdout + done.stderr}
    else:
        log = open(order["folder"] + "/log", "ab")
        children.append(subprocess.Popen(order["command"], cwd=order["folder"], stderr=log))
        answer = {"code": 0, "out": ""}
    line.sendall(json.dumps(answer).encode() + b"\\n")
for child in children:
    child.kill()
    child.wait()
"""


class Namespace:
    """Commands run inside as (seeming) root. What was started ends with the namespace."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def run(self, *command: str) -> str:
        """Waits for the end of a command. Raises `RuntimeError` with what it said when it fails."""
        answer = self._ask({"command": command, "wait": True})
        if answer["code"]:
            raise RuntimeError(f"{' '.join(command)}: {answer['out']}")
        return str(answer["out"])

    def start(self, *command: str, folder: str) -> None:
        """Runs a command beside the test, in `folder`, where its standard error is added to the file `log`."""
        self._ask({"command": command, "wait": False, "folder": folder})

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket of this namespace, not blocking."""
        self._line.sendall(json.dumps({"kind": kind}).encode() + b"\n")
        _, ancillary, _, _ = self._line.recvmsg(4096, socket.CMSG_SPACE(4))
        (number,) = array.array("i", ancillary[0][2])
        made = socket.socket(fileno=number)
        made.setblocking(False)
        return made

    def _ask(self, order: dict[str, object]) -> dict[str, object]:
        self._line.sendall(json.dumps(order).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            got = self._line.recv(65536)
            if not got:
                raise RuntimeError("no network namespace: may this user make user namespaces?")
            answer += got
        return dict(json.loads(answer))


@contextlib.contextmanager
def namespace(*setup: Sequence[str]) -> Iterator[Namespace]:
    """A new namespace in which the commands `setup` have run. Raises `RuntimeError` where none can be made."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = ["unshare", "-Urn", sys.executable, "-c", _INSIDE, str(theirs.fileno())]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | {"PATH": path}) as inside:
            theirs.close()
            found = Namespace(ours)
            try:
                for each in setup:
                    found.run(*each)
                yield found
            finally:
                ours.close()
                inside.wait()
