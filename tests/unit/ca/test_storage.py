"""The root on disk: made once, readable for its owner alone, refused when it is not what it should be."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import Misconfigured
from core.manager.ca.private import kept
from core.manager.ca.root import make_root
from core.manager.ca.storage import CERTIFICATE, KEY, open_root

NOW = 1_800_000_000.0
TEN_YEARS = 10 * 365 * 24 * 3600.0


def opened(where: Path, *, now: float = NOW) -> bytes:
    return open_root(where, trust_domain="cluster.local", now=now).certificate_pem()


def test_it_is_made_once(tmp_path: Path) -> None:
    """The second time it is the same; nobody else may read anything; nothing else is left there."""
    os.umask(previous := os.umask(0))
    try:
        os.umask(0)
        first = opened(tmp_path / "identity")
    finally:
        os.umask(previous)
    assert opened(tmp_path / "identity", now=NOW + 1000) == first
    assert sorted(os.listdir(tmp_path / "identity")) == sorted([KEY, CERTIFICATE])
    for path in (tmp_path / "identity" / KEY, tmp_path / "identity" / CERTIFICATE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700


def test_the_key_is_never_more_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is created with 0600 and never changes: there is no moment in between."""
    modes: list[int] = []
    real = os.open

    def noted(path: object, flags: int, mode: int = 0o777, **extra: object) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            modes.append(mode)
        return real(path, flags, mode, **extra)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noted)
    monkeypatch.setattr(Path, "chmod", None)
    opened(tmp_path)
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    opened(tmp_path)
    (tmp_path / KEY).chmod(mode)
    with pytest.raises(Misconfigured, match="by others") as refused:
        opened(tmp_path)
    assert refused.value.fix == f"chmod 600 {tmp_path / KEY}"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o720])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """They could put a root of their own there, or a socket."""
    place = tmp_path / "identity"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(Misconfigured, match="others may write"):
        opened(place)
    place.chmod(0o700)
    assert opened(place)


def test_a_key_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / KEY).write_bytes(make_root("cluster.local", now=NOW).key_pem())
    with pytest.raises(Misconfigured, match="not a pair") as refused:
        opened(tmp_path)
    assert refused.value.fix


def test_an_expired_root_is_refused(tmp_path: Path) -> None:
    """From the last second on; and one that is not valid yet, which is a wrong clock."""
    opened(tmp_path)
    opened(tmp_path, now=NOW + TEN_YEARS - 1)
    with pytest.raises(Misconfigured, match="the root expired at 20"):
        opened(tmp_path, now=NOW + TEN_YEARS)
    with pytest.raises(Misconfigured, match="not valid yet"):
        opened(tmp_path, now=NOW - 3600)


@pytest.mark.parametrize(("name", "words"), [(KEY, "no private key"), (CERTIFICATE, "no certificate")])
def test_garbage_is_refused(tmp_path: Path, name: str, words: str) -> None:
    opened(tmp_path)
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(Misconfigured, match=words):
        opened(tmp_path)


def test_a_lost_key_is_no_reason_for_a_new_root(tmp_path: Path) -> None:
    """A certificate without its key is refused: silently everybody's certificates would be of no use."""
    opened(tmp_path)
    (tmp_path / KEY).unlink()
    with pytest.raises(Misconfigured, match=r"its key root\.key is not"):
        opened(tmp_path)


def test_a_start_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    """Killed between key and certificate: the certificate is made for the key that is there."""
    opened(tmp_path)
    key = (tmp_path / KEY).read_bytes()
    (tmp_path / CERTIFICATE).unlink()
    opened(tmp_path)
    assert (tmp_path / KEY).read_bytes() == key


def test_whoever_is_slower_takes_what_is_there(tmp_path: Path) -> None:
    """Another process settles the file while this one makes its content."""

    def slow() -> bytes:
        kept(tmp_path / "file", lambda: b"theirs")
        return b"ours"

    assert kept(tmp_path / "file", slow) == b"theirs"
    assert os.listdir(tmp_path) == ["file"]


STARTER = """
import sys, time
from pathlib import Path
from core.manager.ca.storage import open_root
while time.time() < float(sys.argv[2]): pass
root = open_root(Path(sys.argv[1]), trust_domain="cluster.local", now=time.time())
print(root.certificate.fingerprint(root.certificate.signature_hash_algorithm).hex(), flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_managers_that_start_at_once_agree(tmp_path: Path, attempt: int) -> None:
    """Four processes, one directory: one root."""
    import time

    command = [sys.executable, "-c", STARTER, str(tmp_path / "identity"), str(time.time() + 1.5)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({starter.communicate(timeout=60)[0] for starter in starters}) == 1
    assert all(starter.returncode == 0 for starter in starters)


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be made"):
        opened(tmp_path / "file" / "identity")
