"""Join tokens: what is good, what is not, and that nothing of them is ever printed."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Denied, NotFound, Unavailable
from core.manager.ca.attest import Credentials, JoinTokens, Members
from core.manager.ca.spending import Spending
from core.manager.ca.testing import identity
from core.manager.ca.tokens import Claims, Uses, read, write
from core.manager.testing.facts import workload, workload_key
from core.model.identity import SpiffeId
from core.model.mesh import Mesh
from core.model.secret import Sealed

KEY = Sealed(b"k" * 32)
NOW = 1_800_000_000.0
CLAIMS = Claims(id="0" * 32, namespace="default", service_account="alice", expires=int(NOW) + 60)

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)
claims = st.builds(
    Claims,
    id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    namespace=names,
    service_account=names,
    workload=st.just("") | names,
    expires=st.integers(int(NOW) + 1, int(NOW) + 10**8),
    uses=st.sampled_from(Uses),
)


@given(claims)
def test_what_was_written_is_read(written: Claims) -> None:
    assert read(write(written, KEY), KEY, now=NOW) == written


@given(claims, st.data())
def test_any_flipped_bit_is_refused(written: Claims, data: st.DataObject) -> None:
    """Wherever it is: in the beginning, the claims, or the code."""
    token = bytearray(write(written, KEY).value)
    at = data.draw(st.integers(0, 8 * len(token) - 1))
    token[at // 8] ^= 1 << at % 8
    with pytest.raises(Denied):
        read(Sealed(bytes(token)), KEY, now=NOW)


def test_every_flipped_bit_of_one_token_is_refused() -> None:
    """All of them, none by chance."""
    whole = write(CLAIMS, KEY).value
    for at in range(8 * len(whole)):
        token = bytearray(whole)
        token[at // 8] ^= 1 << at % 8
        with pytest.raises(Denied):
            read(Sealed(bytes(token)), KEY, now=NOW)


@given(claims, st.data())
def test_any_other_length_is_refused(written: Claims, data: st.DataObject) -> None:
    """Cut off anywhere, or with something added."""
    token = write(written, KEY).value
    cut = token[: data.draw(st.integers(0, len(token) - 1))]
    more = token + data.draw(st.binary(min_size=1, max_size=4))
    for wrong in (cut, more):
        with pytest.raises(Denied):
            read(Sealed(wrong), KEY, now=NOW)


@given(st.binary(max_size=300))
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(Denied):
        read(Sealed(text), KEY, now=NOW)


def test_another_key_is_another_mesh() -> None:
    with pytest.raises(Denied, match="no join token of this mesh"):
        read(write(CLAIMS, Sealed(b"x" * 32)), KEY, now=NOW)


def test_a_token_ends() -> None:
    """At the second it says."""
    token = write(CLAIMS, KEY)
    assert read(token, KEY, now=CLAIMS.expires - 0.1) == CLAIMS
    with pytest.raises(Denied, match="is over"):
        read(token, KEY, now=CLAIMS.expires)


# -- attesting ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


MEMBERS = Members(
    settings=Mesh,
    workload={workload_key("a"): msgspec.structs.replace(workload("a"), service_account="alice")}.get,
    within={"default": (workload_key("a"),)}.__getitem__,
)


def tokens(where: Path, clock: Clock | None = None, members: Members = MEMBERS) -> JoinTokens:
    return JoinTokens(where, members, clock=clock or Clock())


async def test_one_use_is_one_use(tmp_path: Path) -> None:
    """Also for another object on the same directory, which stands for a Manager after a restart."""
    first, second = tokens(tmp_path), tokens(tmp_path)
    token = first.make(CLAIMS).value
    assert await first.attest(token) == identity("alice")
    for each in (first, second, tokens(tmp_path)):
        with pytest.raises(Denied, match="used before"):
            await each.attest(token)


async def test_a_reusable_token_is_good_again(tmp_path: Path) -> None:
    made = tokens(tmp_path)
    token = made.make(msgspec.structs.replace(CLAIMS, uses=Uses.UNLIMITED)).value
    assert [await made.attest(token) for _ in range(3)] == [identity("alice")] * 3


async def test_a_workloads_token_is_for_that_workload(tmp_path: Path) -> None:
    """It must be registered, and have the service account it had."""
    made = tokens(tmp_path)
    bound = msgspec.structs.replace(CLAIMS, uses=Uses.UNLIMITED, workload="a")
    assert await made.attest(made.make(bound).value) == identity("alice")
    with pytest.raises(NotFound):
        await made.attest(made.make(msgspec.structs.replace(bound, workload="b")).value)
    with pytest.raises(Denied, match="no more"):
        await made.attest(made.make(msgspec.structs.replace(bound, service_account="bob")).value)


async def test_records_go_when_their_tokens_are_long_over(tmp_path: Path) -> None:
    """Not before: a clock may be set back."""
    clock = Clock()
    made = tokens(tmp_path, clock)
    token = made.make(CLAIMS).value
    await made.attest(token)
    clock.now = CLAIMS.expires + 3600
    other = msgspec.structs.replace(CLAIMS, id="1" * 32, expires=int(clock.now) + 60)
    await made.attest(made.make(other).value)
    assert len(os.listdir(tmp_path / "spent")) == 2
    clock.now = NOW
    with pytest.raises(Denied, match="used before"):
        await made.attest(token)
    clock.now = CLAIMS.expires + 2 * 24 * 3600
    tokens(tmp_path, clock)
    assert os.listdir(tmp_path / "spent") == []


async def test_what_cannot_be_recorded_is_not_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: nobody gets a certificate, and the token stays good for later."""
    made = tokens(tmp_path)
    token = made.make(CLAIMS).value

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("core.manager.ca.spending.write", full)
        with pytest.raises(Unavailable, match="No space left"):
            await made.attest(token)
    assert await made.attest(token) == identity("alice")


async def test_other_credentials_are_the_platforms(tmp_path: Path) -> None:
    """If it knows any; else they are no good."""

    class Platform:
        async def attest(self, credential: bytes) -> SpiffeId:
            return identity(credential.decode())

    made = tokens(tmp_path)
    assert await Credentials(made, Platform()).attest(b"alice") == identity("alice")
    assert await Credentials(made, Platform()).attest(made.make(CLAIMS).value) == identity("alice")
    with pytest.raises(Denied):
        await Credentials(made).attest(b"alice")


RACER = """
import sys, time
from pathlib import Path
from core.manager.ca.spending import Spending
spending, start = Spending(Path(sys.argv[1])), float(sys.argv[2])
while time.time() < start: pass
print(sum(spending.spend(f"{n:032x}", expires=9999999999) for n in range(200)), flush=True)
"""


def test_of_racing_processes_exactly_one_wins(tmp_path: Path) -> None:
    """200 tokens, three processes at once: together they use each of them once."""
    import time

    start = str(time.time() + 1)
    command = [sys.executable, "-c", RACER, str(tmp_path / "spent"), start]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    won = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(won) == 200


def test_a_use_is_on_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the directory's entry are both synced; so it survives whatever ends the process or the machine."""
    synced: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", noted)
    assert Spending(tmp_path).spend("0" * 32, expires=1)
    assert synced == [str(tmp_path / f"1-{'0' * 32}"), str(tmp_path)]


async def test_tokens_do_not_print(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither as values nor in errors nor in logs."""
    caplog.set_level(logging.DEBUG)
    made = tokens(tmp_path)
    token = made.make(CLAIMS)
    assert (repr(token), str(token), f"{token}") == ("<redacted>",) * 3
    text = token.value.decode()
    await made.attest(token.value)
    with pytest.raises(Denied) as refused:
        await made.attest(token.value)
    mac = text.rpartition(".")[2]
    assert mac not in f"{refused.value!r} {refused.value.fix} {made!r} {caplog.text}"
