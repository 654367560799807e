"""Stands in for a proxy and an application inside a pod, in plain Python: shows where the kernel leads connections.

`serve SPEC` answers every connection with a trail: where it was accepted, from whom, meant for whom, and on from there.
`call SPEC` makes one connection and prints the trail it is answered with, or the name of the error. Not Envoy: what
Envoy makes of such connections is tested elsewhere.
"""

import ctypes
import encodings.idna  # noqa: F401 - may be where the proxy's user cannot read
import json
import socket
import struct
import sys
import threading
from typing import Any

SO_ORIGINAL_DST, SO_MARK, IP_TRANSPARENT = 80, 36, 19
TIMEOUT = 2.0

Spec = dict[str, Any]
Place = tuple[str, int]
Trail = list[Any]


def original(connection: socket.socket, transparent: object) -> str:
    if transparent:
        address, port = connection.getsockname()
        return f"{address}:{port}"
    raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", raw)
    return f"{socket.inet_ntoa(address)}:{port}"


def connected(target: Place, spec: Spec, source: str = "") -> socket.socket:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    end = socket.socket(family)
    end.settimeout(spec.get("patience", TIMEOUT))
    if spec.get("mark"):
        end.setsockopt(socket.SOL_SOCKET, SO_MARK, spec["mark"])
    if source:
        end.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1) if spec.get("transparent") else None
        end.bind((source, 0))
    end.connect(socket.getaddrinfo(*target, family=family)[0][4] if "%" in target[0] else target)
    return end


def trail(target: Place, spec: Spec, source: str = "") -> Trail:
    try:
        with connected(target, spec, source) as end, end.makefile() as lines:
            found: Trail = json.loads(lines.readline() or '["closed"]')
            return found
    except OSError as error:
        return [type(error).__name__]


def place(text: str) -> Place:
    address, _, port = text.rpartition(":")
    return address, int(port)


def answered(connection: socket.socket, port: int, spec: Spec) -> None:
    peer = connection.getpeername()[0]
    hop = {"at": port, "from": peer}
    rest: Trail = []
    if port == 15001:
        hop["to"] = original(connection, False)
        if hop["to"] in spec.get("routes", {}):
            rest = trail(place(spec["routes"][hop["to"]]), spec)
    elif port == 15006:
        hop["to"] = original(connection, spec.get("transparent"))
        onward = dict(spec, mark=spec.get("onward", spec.get("mark")))
        rest = trail(place(hop["to"]), onward, peer if spec.get("transparent") else "127.0.0.6")
    connection.sendall((json.dumps([hop, *rest]) + "\n").encode())
    connection.close()


def listen(address: str, port: int, spec: Spec) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = socket.socket(family)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port == 15006 and spec.get("transparent"):
        end.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    end.bind((address, port))
    end.listen()
    return end


def accept(end: socket.socket, port: int, spec: Spec) -> None:
    while True:
        connection, _ = end.accept()
        threading.Thread(target=answered, args=(connection, port, spec), daemon=True).start()


def serve(spec: Spec) -> None:
    """As the proxy's user where there is one; a proxy answers datagrams, too."""
    become(spec)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", spec.get("names", 0)))
    for end, port in [(listen(address, port, spec), port) for address, port in spec["listen"]]:
        threading.Thread(target=accept, args=(end, port, spec), daemon=True).start()
    print("ready", flush=True)
    while True:
        question, asker = names.recvfrom(512)
        names.sendto(b"standin:" + question, asker)


def become(spec: Spec) -> None:
    """The user that sockets belong to from now on; rights stay, as with CAP_NET_ADMIN (setfsuid(2))."""
    if spec.get("uid"):
        ctypes.CDLL(None).setfsuid(spec["uid"])


def ask(target: Place, spec: Spec) -> str:
    become(spec)
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.settimeout(0.3)
    if spec.get("mark"):
        end.setsockopt(socket.SOL_SOCKET, SO_MARK, spec["mark"])
    try:
        end.connect(target)
        end.send(b"who?")
        return end.recv(512).decode()
    except OSError as error:
        return type(error).__name__


def main(action: str, text: str) -> None:
    spec = json.loads(text)
    if action == "serve":
        serve(spec)
    elif action == "ask":
        print(json.dumps(ask(place(spec["target"]), spec)))
    else:
        become(spec)
        print(json.dumps(trail(place(spec["target"]), spec)))


if __name__ == "__main__":
    main(*sys.argv[1:])
