"""Envoy's log, read: what is passed on, and why Envoy died, in its own words (texts as Envoy 1.40.0 wrote them)."""

from pathlib import Path

import pytest

from proxy import envoy_process
from proxy.envoy_process import Files, Journal, Knobs, bind_failure, command

NOW = "2026-11-22T14:08:21.721+00:00"
IN_USE = "cannot bind '127.1.0.1:9080': Address already in use"
TAKEN = f"""\
{NOW} error config listener 'l' failed to bind or apply socket options: {IN_USE}
{NOW} critical main error `{IN_USE}` initializing config 'goo.gle/debugproto
  /x/envoy.json'
{IN_USE}
"""
UNKNOWN_FIELD = f"""\
{NOW} critical main error `Protobuf message (type envoy.config.bootstrap.v3.Bootstrap
reason INVALID_ARGUMENT: invalid JSON in goo.gle/debugstr Bootstrap @   static_resources: message S,
near 1:824 (offset  823): no   such field: 'nope')
has unknown fields` initializing config 'goo.gle/debugonly
  /x/envoy.json'
Protobuf message (type …
"""
CRASH = f"""\
{NOW} critical backtrace Caught Segmentation fault, suspect faulting address 0x0
{NOW} critical backtrace Backtrace (use tools/stack_decode.py to get line numbers):
{NOW} critical backtrace #0: [0x7f]
"""


class Told(list[tuple[str, str]]):
    def __call__(self, level: str, message: str) -> None:
        self.append((level, message))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def journal(tmp_path: Path, told: Told) -> Journal:
    return Journal(Files(tmp_path), tell=told)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TAKEN, IN_USE),
        (CRASH, "Caught Segmentation fault, suspect faulting address 0x0"),
        ("PARSE ERROR: no such flag", "PARSE ERROR: no such flag"),
        (f"{NOW} error config only this\n", "only this"),
        (f"{NOW} warning config nothing of note\n", ""),
        ("", ""),
    ],
)
def test_reason(journal: Journal, text: str, reason: str) -> None:
    """Why Envoy ended is its first critical message without its frame, else its last error, else its last line."""
    for at in range(0, len(text), 50):
        journal.write(text[at : at + 50].encode())
    assert journal.reason() == reason


def test_reason_over_several_lines(journal: Journal) -> None:
    """A message over several lines, with odd spaces, becomes one readable line."""
    journal.write(UNKNOWN_FIELD.encode())
    assert journal.reason().startswith("Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason INVALID")
    assert "goo.gle" not in journal.reason()
    assert journal.reason().endswith("near 1:824 (offset 823): no such field: 'nope') has unknown fields")


def test_reason_is_of_this_life(journal: Journal) -> None:
    """What an earlier Envoy died of is forgotten when a new one starts."""
    journal.write(TAKEN.encode())
    journal.open()
    assert journal.reason() == ""


def test_errors_are_passed_on_once(journal: Journal, told: Told) -> None:
    """Errors and worse are passed on, each message once; the file has everything."""
    text = f"{NOW} warning config w\n{NOW} error config e\n{NOW} error config e\n{NOW} critical main c\n"
    journal.write(text.encode())
    assert told == [("error", "e"), ("critical", "c")]
    assert journal._files.log.read_text() == text


def test_log_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew too long moves aside, and takes the place of the one before."""
    monkeypatch.setattr(envoy_process, "LOG_LIMIT", 10)
    for chunk in (b"first chunk\n", b"second chunk\n", b"third\n"):
        journal.write(chunk)
    assert journal._files.old_log.read_bytes() == b"second chunk\n"
    assert journal._files.log.read_bytes() == b"third\n"


def test_unwritable_log_does_not_stop_reading(tmp_path: Path, told: Told) -> None:
    """Where the log cannot be written, Envoy's output is still read."""
    journal = Journal(Files(tmp_path / "missing"), tell=told)
    journal.write(f"{NOW} error config e\n".encode())
    assert told == [("error", "e")]


@pytest.mark.parametrize(
    ("message", "address"),
    [
        ("cannot bind '127.1.0.1:9080': Address already in use", ("127.1.0.1", 9080)),
        ("x cannot bind '[::1]:80': Address already in use y", ("::1", 80)),
        ("cannot bind '127.1.0.1:80': Permission denied", None),
    ],
)
def test_taken_port_is_recognised(message: str, address: tuple[str, int] | None) -> None:
    """The address of a failed bind is found in Envoy's text, if somebody else has it."""
    assert bind_failure(message) == address


def test_command_line(tmp_path: Path) -> None:
    """No hot restart (several Envoys of a machine would clash), prompt access logs, as many workers as asked for."""
    argv = " ".join(command("/bin/envoy", files=Files(tmp_path), knobs=Knobs(concurrency=2, listener_drain=3)).argv)
    for part in ("--disable-hot-restart", "--concurrency 2", "--file-flush-interval-msec 200", "--drain-time-s 3"):
        assert part in argv
