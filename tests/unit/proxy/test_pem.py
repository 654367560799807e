"""Certificate, key and roots for gRPC change as one set."""

from pathlib import Path

from proxy.identity.certificate import Certificate, Issued, Key
from proxy.identity.pem import CHAIN, KEY, ROOTS, PemSecrets


def certificate(name: str) -> Certificate:
    issued = Issued(chain=f"chain {name}", roots=f"roots {name}", identity="me", expires=0.0)
    return Certificate(key=Key(f"key {name}".encode()), issued=issued, since=0.0, renewal=0.0)


def shown(link: Path) -> list[str]:
    return [(link / name).read_text() for name in (CHAIN, KEY, ROOTS)]


def test_a_set_takes_the_place_of_another_by_one_rename(tmp_path: Path) -> None:
    """Who has opened the old folder still finds the old set in it until then; nothing old stays behind."""
    secrets = PemSecrets(tmp_path)
    assert secrets.write(certificate("one"))
    before = secrets.link.resolve()
    assert secrets.write(certificate("two"))
    assert shown(secrets.link) == ["chain two", "key two", "roots two"]
    assert secrets.link.resolve() != before
    assert {path.name for path in tmp_path.iterdir()} == {"certificates", secrets.link.resolve().name}


def test_the_same_set_is_not_written_again(tmp_path: Path) -> None:
    secrets = PemSecrets(tmp_path)
    secrets.write(certificate("one"))
    before = secrets.link.resolve()
    assert not secrets.write(certificate("one"))
    assert secrets.link.resolve() == before


def test_nobody_else_may_read_a_key(tmp_path: Path) -> None:
    secrets = PemSecrets(tmp_path)
    secrets.write(certificate("one"))
    assert (secrets.link / KEY).stat().st_mode & 0o077 == 0
    assert secrets.link.resolve().stat().st_mode & 0o077 == 0


def test_what_a_killed_agent_left_is_found_and_all_of_it_can_go(tmp_path: Path) -> None:
    PemSecrets(tmp_path).write(certificate("one"))
    found = PemSecrets(tmp_path).read()
    assert found is not None
    assert (found[0].pem, *found[1:]) == (b"key one", "chain one", "roots one")
    PemSecrets(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []
    assert PemSecrets(tmp_path).read() is None
