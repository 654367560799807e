"""What capture `redirect` needs of a machine, where it is missing: named, with what helps. No kernel here."""

import pytest

from core.errors import Misconfigured
from core.model.workload import Explicit, Redirected
from proxy.capture import rights, support


def test_a_kernel_without_tproxy_is_told_by_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the modules that bring it."""
    monkeypatch.setattr(support, "_TPROXY_TRIAL", "echo 'error: tproxy: No such file or directory' >&2; exit 1")
    with pytest.raises(Misconfigured, match="cannot do TPROXY: tproxy: No such file") as caught:
        support.require_tproxy()
    assert "modprobe -a nf_tproxy_ipv4 nft_tproxy" in caught.value.fix


@pytest.mark.parametrize("capture", [Redirected(transparent=True), Redirected(mark=7)])
def test_an_envoy_without_the_right_to_mark_is_not_started(
    capture: Redirected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its calls would fail, or come back to it."""
    monkeypatch.setattr(rights, "TRIAL", "raise PermissionError")
    with pytest.raises(Misconfigured, match="no CAP_NET_ADMIN") as caught:
        rights.check(capture)
    assert "--ambient-caps=+net_admin" in caught.value.fix


@pytest.mark.parametrize("capture", [Redirected(), Explicit()])
def test_who_marks_nothing_needs_no_right(capture: Redirected | Explicit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with a user of its own, and capture `none`."""
    monkeypatch.setattr(rights, "TRIAL", "raise PermissionError")
    rights.check(capture)
