"""What the client makes of a Manager that is missing, slow, foreign or broken."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from core.errors import Denied, MeshError, Unavailable
from istioctl.client import Api

Run = Callable[..., Result]


@contextmanager
def manager(state_dir: Path, reply: bytes) -> Iterator[None]:
    """Answers one connection with `reply` and closes it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state_dir / "api.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def release(state_dir: Path, *, timeout: float = 10.0) -> None:
    with Api(state_dir, timeout=timeout) as api:
        api.release()


def test_without_a_manager_the_fix_is_named(istioctl: Run, state_dir: Path) -> None:
    """Every command that needs one says where it looked and how to start one."""
    for args in (["get", "vs"], ["delete", "vs", "a"]):
        result = istioctl(*args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"nothing answers at {state_dir}/api.sock" in result.stderr
        assert "fix:   start a mesh with: istioctl up mesh.yaml" in result.stderr


def test_a_socket_nobody_listens_at_is_no_manager(tmp_path: Path) -> None:
    """What a killed Manager left behind is told apart from one that runs."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "api.sock"))
    with pytest.raises(Unavailable, match="no Manager is running"):
        release(tmp_path)


def test_a_manager_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """The client waits only so long."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "api.sock"))
        silent.listen()
        with pytest.raises(Unavailable, match="did not answer in time"):
            release(tmp_path, timeout=0.05)


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (b"", Unavailable, "broke off"),
        (b"SSH-2.0-OpenSSH\r\n", Unavailable, "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", Unavailable, "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhey!", MeshError, "something else"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nhey!", MeshError, "something else"),
    ],
)
def test_a_broken_answer_is_explained(reply: bytes, error: type[MeshError], text: str, tmp_path: Path) -> None:
    """Whatever comes back, the user gets a sentence and not a traceback."""
    with manager(tmp_path, reply), pytest.raises(error, match=text):
        release(tmp_path)


def test_a_connection_that_was_closed_meanwhile_is_made_again(tmp_path: Path) -> None:
    """The Manager closes idle connections; the next request is answered all the same."""
    body = b'{"gitVersion":"v1"}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with Api(tmp_path) as api:
        for _ in range(2):
            with manager(tmp_path, reply):
                assert api.release().git_version == "v1"
            (tmp_path / "api.sock").unlink()


def test_somebody_elses_socket_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is its owner's alone; others are told so."""

    def refuse(self: object, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("istioctl.transport._UnixConnection.connect", lambda self: refuse(self, ""))
    with pytest.raises(Denied, match="another user"):
        release(tmp_path)


def test_version_without_a_manager_is_an_answer(istioctl: Run) -> None:
    """The client's version is shown, that no Manager runs is said, and nothing failed."""
    result = istioctl("version")
    assert (result.exit_code, result.stdout.startswith("client version: ")) == (0, True)
    assert "no Manager is running" in result.stderr


OK = b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{"gitVersion":"v2"}'


@contextmanager
def at(place: Path, *replies: bytes) -> Iterator[None]:
    """A Manager with its socket there that gives these replies, each on a connection of its own."""
    place.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "api.sock"))
        listener.listen()

        def serve() -> None:
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_another_manager_is_asked_when_the_first_is_gone(tmp_path: Path) -> None:
    """What number 1 left behind is a socket at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "api.sock"))
    with at(tmp_path / "managers" / "2", OK, OK), Api(tmp_path) as api:
        assert api.release().git_version == "v2"


def test_another_manager_is_asked_when_the_first_says_nothing(tmp_path: Path) -> None:
    """It hangs: connections are accepted by the kernel, and nobody reads."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "api.sock"))
        silent.listen()
        with at(tmp_path / "managers" / "2", OK, OK), Api(tmp_path) as api:
            assert api.release().git_version == "v2"


def test_another_manager_is_asked_when_the_first_goes_between_two_questions(tmp_path: Path) -> None:
    with at(tmp_path / "managers" / "2", OK, OK):
        with at(tmp_path, OK, OK):
            api = Api(tmp_path)
            assert api.release().git_version == "v2"
        (tmp_path / "api.sock").unlink()
        with api:
            assert api.release().git_version == "v2"


def test_another_manager_is_asked_when_the_first_dies_before_it_answers(tmp_path: Path) -> None:
    """It said that it was there, took the first request of all, and was killed."""
    with at(tmp_path / "managers" / "2", OK, OK), at(tmp_path, OK, b"", b""), Api(tmp_path) as api:
        assert api.release().git_version == "v2"


def test_too_many_requests_are_made_again_later(tmp_path: Path) -> None:
    """After as long as the Manager says; a person never sees it."""
    body = b'{"gitVersion":"v1"}'
    replies = [b"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"] * 3
    replies.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for reply in replies:
                connection.recv(65536)
                connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with Api(tmp_path) as api:
            assert api.release().git_version == "v1"
        thread.join()
