"""Waiting for a first certificate costs little, and the files of one are kept as they were written."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import Unavailable
from proxy.identity import rotation
from proxy.identity.authority import Authority, Local
from proxy.identity.certificate import Key
from proxy.identity.pem import PemSecrets
from proxy.identity.rotation import Rotation
from proxy.identity.secrets import Secrets
from proxy.testing import Events
from proxy.testing.authority import StubAuthority, stub_authority


@contextlib.asynccontextmanager
async def rotating(folder: Path, events: Events, kind: type[Secrets] = Secrets) -> AsyncIterator[Rotation]:
    source = Authority(Local(sockets=(str(folder / "ca"),)))
    rotation = Rotation(source, kind(folder), log=events)
    task = asyncio.create_task(rotation.run())
    try:
        yield rotation
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests for certificates that were made: each is a process that starts."""
    found: list[bytes] = []
    make = rotation.request

    async def counted() -> tuple[Key, bytes]:
        key, request = await make()
        found.append(request)
        return key, request

    monkeypatch.setattr(rotation, "request", counted)
    return found


async def refusals(authority: StubAuthority, count: int) -> None:
    authority.refusal = 503, "not yet", ""
    while authority.asked < count:  # noqa: ASYNC110 - the stub has no event for that
        await asyncio.sleep(0.01)
    authority.refusal = None


async def test_a_key_is_made_once_however_often_the_manager_is_asked(tmp_path: Path, made: list[bytes]) -> None:
    """Agents start before their Manager: a mesh that starts has better things to do than to make keys over and over."""
    events = Events()
    async with stub_authority(tmp_path / "ca") as authority, rotating(tmp_path, events):
        async with asyncio.timeout(10):
            await refusals(authority, 4)
        await events.take("certificate.issued")
    assert len(made) == 1


async def test_every_certificate_has_a_key_of_its_own(tmp_path: Path, made: list[bytes]) -> None:
    """Also those after one that was long asked for."""
    events = Events()
    async with stub_authority(tmp_path / "ca", longest=5) as authority, rotating(tmp_path, events):
        async with asyncio.timeout(10):
            await refusals(authority, 2)
        await events.take("certificate.issued", count=2)
    assert len(set(made)) == len(made) == 2


@pytest.mark.parametrize(
    ("kind", "life", "low", "high"), [(Secrets, 8, 3.1, 4.5), (PemSecrets, 8, 5.1, 6.5), (PemSecrets, 5, 3.2, 4.0)]
)
async def test_the_next_certificate_is_asked_for_early_enough_for_who_looks_from_time_to_time(
    tmp_path: Path, kind: type[Secrets], life: int, low: float, high: float
) -> None:
    """gRPC looks every 2 s: so much more is left of the old one by then, where it lives that long."""
    events = Events()
    async with stub_authority(tmp_path / "ca", longest=life), rotating(tmp_path, events, kind) as rotation:
        await events.take("certificate.issued")
        facts = rotation.standing.value.facts
        assert facts is not None
        assert low <= facts.expires - facts.renewal <= high


async def test_harmed_files_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once for each time; files that are well are left alone."""
    monkeypatch.setattr(rotation, "LONGEST_SLEEP", 0.05)
    events = Events()
    async with stub_authority(tmp_path / "ca"), rotating(tmp_path, events):
        await events.take("certificate.issued")
        file = tmp_path / "certs" / "default.json"
        good, written = file.read_bytes(), file.stat().st_mtime_ns
        await asyncio.sleep(0.2)
        assert (file.stat().st_mtime_ns, events.named("certificate.restored")) == (written, [])
        for count, harm in enumerate((b"", good[:50]), start=1):
            file.write_bytes(harm)
            await events.take("certificate.restored", count=count)
            assert file.read_bytes() == good


async def test_another_manager_is_asked_when_one_is_gone(tmp_path: Path) -> None:
    """The one that answered is asked first the next time."""
    source = Authority(Local(sockets=(str(tmp_path / "gone"), str(tmp_path / "ca"))))
    async with stub_authority(tmp_path / "ca") as authority:
        _, csr = await rotation.request()
        assert (await source.sign(csr, lifetime=60)).chain
        async with stub_authority(tmp_path / "gone") as late:
            assert (await source.sign(csr, lifetime=60)).chain
            assert (authority.asked, late.asked) == (2, 0)


async def test_another_manager_is_asked_when_one_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, so connections are accepted; half of the patience is for it."""
    monkeypatch.setattr("proxy.identity.authority.TIMEOUT", 1.0)
    source = Authority(Local(sockets=(str(tmp_path / "silent"), str(tmp_path / "ca"))))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        async with stub_authority(tmp_path / "ca"):
            _, csr = await rotation.request()
            assert (await source.sign(csr, lifetime=60)).chain


async def test_all_that_were_asked_are_named(tmp_path: Path) -> None:
    source = Authority(Local(sockets=(str(tmp_path / "one"), str(tmp_path / "two"))))
    with pytest.raises(Unavailable, match=r"(?s)one.*two|two.*one"):
        await source.sign(b"", lifetime=60)
