"""The roots that a machine trusts are shown to Envoy under one name, wherever the machine keeps them."""

from pathlib import Path

import pytest

from proxy.identity import system_roots


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    return tmp_path / "certs" / "system-roots.pem"


def test_the_first_place_that_exists_counts(link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As distributions have them, and before all what the environment says."""
    bundle, own = tmp_path / "bundle.crt", tmp_path / "own.pem"
    bundle.write_text("bundle")
    own.write_text("own")
    monkeypatch.setattr(system_roots, "KNOWN", (str(tmp_path / "none.crt"), str(bundle)))
    assert system_roots.show(link) == bundle
    assert link.read_text() == "bundle"
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    assert system_roots.show(link) == own
    assert link.read_text() == "own"


def test_what_was_shown_is_taken_away(link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its directory; the bundle itself stays. A link that leads nowhere any more is replaced."""
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("bundle")
    monkeypatch.setattr(system_roots, "KNOWN", (str(bundle),))
    link.parent.mkdir()
    link.symlink_to(tmp_path / "gone")
    assert system_roots.show(link) == bundle
    system_roots.hide(link)
    assert not link.parent.exists()
    assert bundle.exists()
