"""Who holds a port, and what is said of one that cannot be bound."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import Misconfigured
from proxy import ports
from proxy.ports import Holder, check_free, holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def listening(address: str, *, reuse: int = 1) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    sock.bind((address, 0))
    sock.listen()
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(listening("127.0.0.1")) as sock:
        yield port_of(sock)


def test_own_process_is_named(taken: int) -> None:
    """A port that this process listens on has this process as its holder, with its command line."""
    found = holder("127.0.0.1", taken)
    assert found is not None
    assert (found.pid, found.address, found.port) == (os.getpid(), "127.0.0.1", taken)
    assert "pytest" in found.command
    assert str(os.getpid()) in str(found)


def test_other_process_is_named() -> None:
    """A port that another process listens on has that process as its holder."""
    server = "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    code = f"import socket, sys; {server}; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = holder("127.0.0.1", int(process.stdout.readline()))
        process.communicate()
    assert found is not None
    assert found.pid == process.pid
    assert "socket.create_server" in found.command


@pytest.mark.parametrize(
    ("bound", "asked"), [("0.0.0.0", "127.3.2.1"), ("::", "127.3.2.1"), ("::1", "::1"), ("::", "::1")]
)
def test_wildcards_count(bound: str, asked: str) -> None:
    """A listener on all addresses, of either family, holds each of them."""
    with closing(listening(bound)) as sock:
        found = holder(asked, port_of(sock))
    assert found is not None
    assert found.pid == os.getpid()


def test_same_port_elsewhere_does_not_count(taken: int) -> None:
    """A listener on another address of this machine holds nothing here."""
    assert holder("127.0.0.2", taken) is None
    check_free([("127.0.0.2", taken)])


def used(*, reuse: int) -> int:
    """A port whose listener has gone, with one of its connections still in TIME_WAIT."""
    with closing(listening("127.0.0.3", reuse=reuse)) as sock:
        client = socket.create_connection(("127.0.0.3", port_of(sock)))
        sock.accept()[0].close()
        client.close()
        return port_of(sock)


def test_free_port_has_no_holder() -> None:
    """Nobody holds a port that a server like Envoy (SO_REUSEADDR) has left, TIME_WAIT notwithstanding."""
    port = used(reuse=1)
    assert holder("127.0.0.3", port) is None
    check_free([("127.0.0.3", port)])


def test_time_wait_is_told_from_a_holder() -> None:
    """A port that a server without SO_REUSEADDR has left is not free for a minute; nobody is to be killed for it."""
    with pytest.raises(Misconfigured, match="TIME_WAIT") as caught:
        check_free([("127.0.0.3", used(reuse=0))])
    assert "minute" in caught.value.fix


def test_taken_ports_are_all_named(taken: int) -> None:
    """Before a start, every taken port is named with its holder and the fix, in one error."""
    with closing(listening("127.0.0.1")) as sock:
        other = port_of(sock)
        with pytest.raises(Misconfigured) as caught:
            check_free([("127.0.0.1", taken), ("127.0.0.1", other), ("127.0.0.2", taken)])
    message = str(caught.value)
    assert f"127.0.0.1:{taken} is taken (pid {os.getpid()}" in message
    assert f"127.0.0.1:{other} is taken" in message
    assert "127.0.0.2" not in message
    assert f"kill {os.getpid()}" in caught.value.fix


def test_holder_of_another_user(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process whose files we may not see, the user is named, and how to find out more."""
    monkeypatch.setattr(ports, "_descriptors", lambda pid: iter(()))
    found = holder("127.0.0.1", taken)
    assert found is not None
    assert found.pid is None
    assert found.user in str(found)
    assert "ss -ltnp" in ports.taken("127.0.0.1", taken)[1]


def test_address_of_no_interface() -> None:
    """An address that this machine does not have is told from a taken one."""
    with pytest.raises(Misconfigured, match="no such address") as caught:
        check_free([("192.0.2.1", 9080)])
    assert "ip address add 192.0.2.1" in caught.value.fix


def test_unreadable_proc(taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc, a taken port is still reported, its holder as unknown."""
    monkeypatch.setattr(ports, "PROC", tmp_path)
    with pytest.raises(Misconfigured, match="holder unknown"):
        check_free([("127.0.0.1", taken)])


def test_ipv6_is_written_with_brackets() -> None:
    """An IPv6 address and its port can be told apart."""
    assert ports.shown("::1", 80) == "[::1]:80"


def test_holder_reads_well() -> None:
    """The text names pid, user and command."""
    found = Holder(address="0.0.0.0", port=80, user="www", pid=7, command="nginx -g x")
    assert str(found) == "pid 7, user www: nginx -g x"
