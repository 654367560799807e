"""Networks of pods: made fast, entered unchanged, bridged to the host, and gone without a trace."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import MeshError, Unavailable
from proxy.capture import outside, support
from proxy.capture.fabric import Pod, fabric
from proxy.capture.policy import ByMark, Policy
from proxy.capture.relay import Relay, Streams, relayed

POLICY = Policy(proxy=ByMark())
PODS = 8
SECONDS = 5.0
"""For what takes a tenth of that; this machine may be busy."""


async def said(pod: Pod, *words: str, **options: Any) -> str:
    """What a program in the pod prints."""
    process = await asyncio.create_subprocess_exec(*pod.enter, *words, stdout=asyncio.subprocess.PIPE, **options)
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    return output.decode()


async def test_eight_pods_are_ready_in_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """With rules; measured here at a tenth of a second."""
    async with fabric() as net:
        began = time.monotonic()
        pods = await asyncio.gather(*(net.add(f"p{n}", f"198.18.0.{n}", policy=POLICY) for n in range(1, PODS + 1)))
        took = time.monotonic() - began
        with capsys.disabled():
            print(f"\n{len(pods)} pods ready in {took:.3f} s")
        assert took < SECONDS
        assert "198.18.0.8/15" in await said(pods[-1], "/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin ip -br address")


async def test_a_pod_in_the_place_of_another_is_reached_at_once() -> None:
    """Its neighbours know the old one's hardware address, for half a minute if nothing tells them."""
    connect = "import socket; socket.create_connection(('198.18.0.2', 80), timeout=3); print('connected')"
    async with fabric() as net:
        near = await net.add("near", "198.18.0.1", policy=None)
        for _ in range(2):
            await net.add("far", "198.18.0.2", policy=None)
            with await net.listening("far", 80):
                assert await said(near, sys.executable, "-c", connect) == "connected\n"
            await net.remove("far")


async def test_programs_in_a_pod_find_all_else_as_it_was(tmp_path: Path) -> None:
    """Directory, environment, files of the machine; only names are looked up elsewhere, and low ports are free."""
    async with fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=POLICY, search=("shop.svc.cluster.local",))
        (tmp_path / "here").write_text("found")
        script = "pwd; env; cat here; cat /etc/resolv.conf; grep ^hosts: /etc/nsswitch.conf"
        output = await said(pod, "/bin/sh", "-c", script, cwd=tmp_path, env={"ONLY": "this"})
        expected = [str(tmp_path), "ONLY=this", "found", "search shop.svc.cluster.local", "hosts: files dns"]
        assert [text for text in expected if text not in output] == []
        assert "LC_CTYPE" not in output
        server = "import socket; socket.create_server(('0.0.0.0', 80)); print('bound')"
        assert await said(pod, sys.executable, "-c", server) == "bound\n"


async def test_a_program_that_is_not_there_is_told_as_by_a_shell() -> None:
    """Exit codes and words of POSIX."""
    async with fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=None)
        words, env = (*pod.enter, "no-such-program"), {"PATH": "/usr/bin:/bin"}
        process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE, env=env)
        _, error = await process.communicate()
        assert (process.returncode, error) == (127, b"no-such-program: No such file or directory\n")


async def test_a_pod_can_go_and_come_back() -> None:
    """By the same name, at the same address, while others stay; twice at once it cannot be."""
    async with fabric() as net:
        await net.add("stays", "198.18.0.1", policy=None)
        for _ in range(3):
            pod = await net.add("comes", "198.18.0.2", policy=POLICY)
            with pytest.raises(MeshError, match="there is a pod comes already"):
                await net.add("comes", "198.18.0.3", policy=None)
            await net.remove("comes")
            process = await asyncio.create_subprocess_exec(*pod.enter, "true", stderr=asyncio.subprocess.PIPE)
            assert (await process.communicate())[1].startswith(b"the pod is gone")
        with pytest.raises(MeshError, match="there is no pod comes"):
            await net.remove("comes")


async def test_a_pod_that_cannot_be_made_is_told_and_leaves_nothing() -> None:
    """With the words of the program that did not like it; the next is made as usual."""
    async with fabric() as net:
        with pytest.raises(MeshError, match=r"198\.18\.0\.999"):
            await net.add("one", "198.18.0.999", policy=None)
        await net.add("one", "198.18.0.1", policy=None)


async def serve_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers when the question has ended: works only where half-closed connections stay half-closed."""
    question = await reader.read()
    peer = writer.get_extra_info("peername")
    writer.write(b"%d bytes from %s: %s" % (len(question), peer[0].encode(), question[:60]))
    writer.close()


SERVER = """
import socket, sys
server = socket.create_server(("0.0.0.0", 8080))
print("ready", flush=True)
while True:
    end, peer = server.accept()
    question = b""
    while chunk := end.recv(65536):
        question += chunk
    end.sendall(f"{len(question)} bytes from {peer[0]}: ".encode() + question[:60])
    end.close()
"""


@contextlib.asynccontextmanager
async def serving(pod: Pod) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *pod.enter, sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def asked(port: int, question: bytes) -> bytes:
    """What is answered on that port of the host once the question has ended."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question)
        writer.write_eof()
        with contextlib.closing(writer):
            return await reader.read()


@pytest.mark.parametrize("announce", [False, True])
async def test_a_listening_socket_of_the_host_leads_into_a_pod(announce: bool) -> None:
    """All bytes, the end of one direction before the other, and the caller's address where that is asked for."""
    async with fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=None)
        async with serving(pod):
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]
                await net.expose(listening, "198.18.0.1", 8080, announce=announce)
            answer = await asked(port, b"q" * 3_000_000)
        if announce:
            assert b"PROXY TCP4 127.0.0.1 127.0.0.1 " in answer
        else:
            assert answer == b"3000000 bytes from 198.19.255.254: " + b"q" * 60


async def test_a_door_to_a_pod_that_is_not_there_closes_connections() -> None:
    """And stays open for when it is."""
    async with fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=None)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            await net.expose(listening, "198.18.0.1", 8080)
        with pytest.raises(ConnectionResetError):
            await asked(port, b"")
        async with serving(pod):
            assert await asked(port, b"x") == b"1 bytes from 198.19.255.254: x"


async def test_an_application_of_the_host_answers_in_a_pod() -> None:
    """What somebody started on the host's loopback is reached through a port of the pod, until that goes."""
    application = await asyncio.start_server(serve_lines, "127.0.0.1", 0)
    target = application.sockets[0].getsockname()[1]
    call = "s = socket.create_connection(('198.18.0.1', 9080)); s.send(b'hi'); s.shutdown(1); print(s.recv(99))"
    ask = f"import socket; {call}"
    async with application, fabric() as net:
        one = await net.add("one", "198.18.0.1", policy=None)
        two = await net.add("two", "198.18.0.2", policy=None)
        await net.attach("one", 9080, address="127.0.0.1", target=target)
        for pod in (one, two):
            assert await said(pod, sys.executable, "-c", ask) == "b'2 bytes from 127.0.0.1: hi'\n"
        await net.remove("one")
        quiet = {"stderr": asyncio.subprocess.DEVNULL}
        assert "2 bytes" not in await said(two, "timeout", "1", sys.executable, "-c", ask, **quiet)


async def test_pods_reach_the_world_outside_as_the_host_does() -> None:
    """Connections to addresses that are no pod's, made by the host; without that way out there is none."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.connect(("192.0.2.1", 9))
    own = probe.getsockname()[0]
    probe.close()
    server = await asyncio.start_server(serve_lines, own, 0)
    target = server.sockets[0].getsockname()
    call = f"s = socket.create_connection({target}, 1); s.send(b'hi'); s.shutdown(1); print(s.recv(99))"
    quiet = {"stderr": asyncio.subprocess.DEVNULL}
    async with server, fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=None)
        words = (sys.executable, "-c", f"import socket; {call}")
        assert await said(pod, *words, **quiet) == ""
        await net.open_outside()
        assert await said(pod, *words) == f"b'2 bytes from {own}: hi'\n"


QUERY = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1"


async def test_a_query_that_nobody_answers_is_refused() -> None:
    """At once where the resolver is not there: a proxy that waits would ask again, and its application too."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    async with outside.resolving(server, resolver=("127.255.255.254", 53)):
        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asker.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(asker, QUERY, server.getsockname())
        answer = await asyncio.wait_for(loop.sock_recv(asker, 512), SECONDS)
        asker.close()
    assert answer == QUERY[:2] + b"\x81\x05" + QUERY[4:]


def fabric_processes(parent: int) -> list[int]:
    """Children of that process which hold a fabric."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"proxy.capture.inside" in words and str(parent).encode() in words:
                found.append(int(path.name))
    return found


async def test_when_the_fabric_is_killed_everybody_hears_of_it() -> None:
    """Who waits, who asks, and who watches."""
    async with fabric() as net:
        await net.add("one", "198.18.0.1", policy=None)
        (process,) = fabric_processes(os.getpid())
        os.kill(process, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(net.failed(), SECONDS)
        with pytest.raises(Unavailable):
            await net.add("two", "198.18.0.2", policy=None)


HOST = """
import asyncio
from proxy.capture.fabric import fabric
async def main():
    async with fabric() as net:
        await net.add("one", "198.18.0.1", policy=None)
        print("up", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_when_the_host_is_killed_nothing_is_left() -> None:
    """No process, and so no namespace: they have no names."""
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", HOST, stdout=asyncio.subprocess.PIPE)
    assert host.stdout is not None
    assert await asyncio.wait_for(host.stdout.readline(), 10) == b"up\n"
    (process,) = fabric_processes(host.pid)
    host.kill()
    await host.wait()
    await gone(process)


async def gone(process: int) -> None:
    async with asyncio.timeout(SECONDS):
        while alive(process):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


def alive(process: int) -> bool:
    """Whether it runs, and is not only waiting for somebody to take note of its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_nothing_is_left_after_the_block() -> None:
    """No process of the fabric; what ran in a pod is its owner's business."""
    async with fabric() as net:
        await net.add("one", "198.18.0.1", policy=None)
        assert len(fabric_processes(os.getpid())) == 1
    assert fabric_processes(os.getpid()) == []


async def test_a_program_in_a_pod_dies_with_its_parent_if_it_asked_to() -> None:
    """Although entering a user namespace makes the kernel forget that wish."""
    async with fabric() as net:
        pod = await net.add("one", "198.18.0.1", policy=None)
        launch = Path(support.__file__).parents[1] / "launch.py"
        middle = (
            "import os, subprocess, sys\n"
            "words = [sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()), '', *sys.argv[2:]]\n"
            "child = subprocess.Popen(words, stdout=subprocess.PIPE)\n"
            "child.stdout.readline(); print(child.pid, flush=True); child.wait()\n"
        )
        inner = ("/bin/sh", "-c", "echo in; exec sleep 60")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", middle, str(launch), *pod.enter, *inner), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        sleeper = int(await asyncio.wait_for(process.stdout.readline(), 10))
        process.kill()
        await process.wait()
        await gone(sleeper)


async def test_a_relay_reads_no_faster_than_the_other_side() -> None:
    """A caller that sends to somebody who does not read is stopped, and not buffered without end."""
    reading = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        total = len(await reader.read())
        writer.write(str(total).encode())
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)

    async def connect(client: asyncio.StreamWriter) -> Streams:
        return await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

    listening = socket.create_server(("127.0.0.1", 0))
    async with server, relayed(listening, Relay(connect)):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200_000_000:
                writer.write(b"x" * 1_000_000)
                await asyncio.wait_for(writer.drain(), 0.5)
                sent += 1_000_000
        assert sent < 200_000_000
        reading.set()
        writer.write_eof()
        with contextlib.closing(writer):
            assert int(await asyncio.wait_for(reader.read(), 10)) >= sent


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel.unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user.max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("", "", "or use capture none"),
    ],
)
def test_who_may_not_make_namespaces_hears_why_and_what_to_do(tmp_path: Path, name: str, value: str, fix: str) -> None:
    """The setting that forbids it is named, with the command that allows it."""
    if name:
        path = tmp_path / name.replace(".", "/")
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    error = support.refused("unshare failed: Operation not permitted", sysctls=tmp_path)
    assert "unshare failed: Operation not permitted" in str(error)
    assert fix in error.fix


def test_what_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command to copy."""
    monkeypatch.setattr("proxy.capture.apply._PATH", "/nowhere")
    with pytest.raises(MeshError, match="`ip` is not installed") as raised:
        support.require()
    assert raised.value.fix == "run: sudo apt-get install -y iproute2"
