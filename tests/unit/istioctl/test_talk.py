"""What a person hears of a mesh that starts, and what is no news."""

import pytest

from istioctl.local.talk import BEGINNING, Talk


@pytest.mark.parametrize(("after", "told"), [(BEGINNING / 2, False), (BEGINNING + 1, True)])
def test_a_missing_certificate_is_no_news_while_all_begins(
    after: float, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Agents are there before their Manager; later it is what somebody has to know."""
    now = [100.0]
    talk = Talk(clock=lambda: now[0])
    now[0] += after
    talk.event("certificate.missing", workload="web-v1.default", reason="no Manager", fix="Is it running?")
    said = capsys.readouterr()
    heard = "web-v1.default               has no certificate yet: no Manager. Is it running?" in said.out + said.err
    assert heard is told
