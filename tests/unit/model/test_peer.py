"""What telemetry says about a workload: Istio's rules for canonical names, and a text that comes back as it went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.labels import Labels
from core.model.peer import Peer
from core.model.service import WorkloadKey

KEY = WorkloadKey("shop", "web-v1-2")


@pytest.mark.parametrize(
    ("labels", "service", "revision"),
    [
        ({}, "web-v1-2", "latest"),
        ({"app": "a", "version": "v"}, "a", "v"),
        ({"app": "a", "app.kubernetes.io/name": "k", "version": "v", "app.kubernetes.io/version": "kv"}, "k", "kv"),
        (
            {"app": "a", "app.kubernetes.io/name": "k", "service.istio.io/canonical-name": "c",
             "version": "v", "service.istio.io/canonical-revision": "cv"}, "c", "cv",
        ),
        ({"service.istio.io/workload-name": "web-v1"}, "web-v1", "latest"),
    ],
)  # fmt: skip
def test_canonical_names(labels: dict[str, str], service: str, revision: str) -> None:
    """The most specific label wins; without any the workload's name and `latest` stand in (Istio)."""
    peer = Peer.of(KEY, Labels.of(labels))
    assert (peer.service, peer.revision) == (service, revision)


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=';"\\\n\r\t\0'), max_size=9)


@given(st.builds(Peer, *[WORDS] * 7))
def test_there_and_back(peer: Peer) -> None:
    """The text holds all there is to say, app and version only where they differ from service and revision."""
    assert Peer.parse(str(peer)) == peer


@given(st.text())
def test_strangers_texts(text: str) -> None:
    """Whatever a header holds, reading it does not fail."""
    Peer.parse(text)


def test_nothing_breaks_out() -> None:
    """Separators and quotes in a label do not move other fields or end a label of Prometheus' text."""
    assert str(Peer(workload='a;b"c', namespace="n")) == "a_b_c;n;;;"
