"""`proxy-status`: from what the Manager answers at /status to what people and scripts read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from msgspec.structs import replace

from core.manager.status import Delivery, Held, MeshStatus, ProxyStatus, Refusal
from core.model.config import ConfigKey, Origin
from core.model.service import WorkloadKey
from istioctl.client import Api
from istioctl.delivery import states

Run = Callable[..., Result]

NOW = 1_700_000_000.0
REVIEWS, RATINGS = WorkloadKey("default", "reviews-v1"), WorkloadKey("shop", "ratings-v1")
RULE = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")


def delivered(*types: str, waiting: bool = False) -> tuple[Delivery, ...]:
    return tuple(Delivery(type=name, sent="7", acked="6" if waiting else "7", waiting=waiting) for name in types)


def proxy(key: WorkloadKey, *, deliveries: tuple[Delivery, ...] = (), refused: tuple[Refusal, ...] = ()) -> ProxyStatus:
    return ProxyStatus(
        workload=key,
        node=f"sidecar~10.0.0.1~{key}~x",
        connected_since=NOW - 123,
        user_agent="envoy 1.40.0",
        deliveries=deliveries,
        refused=refused,
    )


REFUSAL = Refusal(type="LDS", resource="0.0.0.0_80", reason="cannot bind:\n  address in use")
NO_CLUSTER = Refusal(type="CDS", resource="x", reason="bad")
HELD = Held(
    document=RULE,
    workload=REVIEWS,
    refusal=Refusal(type="RDS", resource="9080", reason="bad regex", origin=Origin(RULE, "spec.http[0]")),
)
HELD_CLUSTER = Held(document=RULE, workload=REVIEWS, refusal=NO_CLUSTER)
MESH = MeshStatus(
    proxies=(
        proxy(REVIEWS, deliveries=(*delivered("CDS", "EDS", "RDS"), *delivered("LDS", waiting=True))),
        proxy(RATINGS, deliveries=delivered("CDS", "LDS"), refused=(REFUSAL,)),
    ),
    held=(HELD,),
)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[MeshStatus], None]:
    """Sets what the Manager says, two minutes after its proxies connected."""
    monkeypatch.setattr("time.time", lambda: NOW)

    def set_(status: MeshStatus) -> None:
        monkeypatch.setattr(Api, "status", lambda self: status)

    return set_


@pytest.mark.parametrize(
    ("status", "held", "expected"),
    [
        (proxy(REVIEWS), (), "NOT SENT"),
        (proxy(REVIEWS, deliveries=(Delivery(type="CDS"),)), (), "NOT SENT"),
        (proxy(REVIEWS, deliveries=(Delivery(type="CDS", brought=True),)), (), "SYNCED"),
        (proxy(REVIEWS, deliveries=delivered("CDS")), (), "SYNCED"),
        (proxy(REVIEWS, deliveries=delivered("CDS", waiting=True)), (), "STALE"),
        # What was refused was taken back: nothing is left to be sent.
        (proxy(REVIEWS, deliveries=(Delivery(type="CDS", sent="7", acked="6"),)), (), "SYNCED"),
        (proxy(REVIEWS, deliveries=delivered("CDS"), refused=(NO_CLUSTER,)), (), "REFUSED"),
        (proxy(REVIEWS, deliveries=delivered("CDS")), (HELD_CLUSTER,), "REFUSED"),
        (proxy(REVIEWS, deliveries=delivered("CDS")), (HELD,), "SYNCED"),
        (proxy(RATINGS, deliveries=delivered("CDS", "RDS")), (HELD,), "SYNCED"),
    ],
)  # fmt: skip
def test_each_type_has_a_state(status: ProxyStatus, held: tuple[Held, ...], expected: str) -> None:
    """Refused counts most, also when the Manager went back to what was good; what waits is stale."""
    assert states(status, held)["CDS"] == expected


def test_synced_is_about_what_waits_or_is_refused() -> None:
    """The Manager's own verdict follows the same rule."""
    assert proxy(REVIEWS, deliveries=(Delivery(type="CDS", sent="7", acked="6"),)).synced
    assert not proxy(REVIEWS, deliveries=delivered("CDS", waiting=True)).synced
    assert not proxy(REVIEWS, refused=(REFUSAL,)).synced


def test_one_row_for_each_proxy(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """States, Envoy's version, and how long it is connected; what is out of force is said on stderr; exit code 0."""
    answer(MESH)
    result = istioctl("proxy-status")
    assert (result.exit_code, result.stdout) == (
        0,
        "NAME                 CDS      LDS       EDS        RDS        ENVOY    CONNECTED\n"
        "reviews-v1.default   SYNCED   STALE     SYNCED     REFUSED    1.40.0   2m3s\n"
        "ratings-v1.shop      SYNCED   REFUSED   NOT SENT   NOT SENT   1.40.0   2m3s\n",
    )
    said = "VirtualService default/reviews is out of force: istioctl proxy-status reviews-v1.default shows why\n"
    assert result.stderr == said


def test_who_is_told_otherwise_by_its_agent_is_named(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """In the table on stderr, and among everything about it."""
    misled = replace(proxy(REVIEWS, deliveries=delivered("CDS")), misled="its agent says A, and we say B")
    answer(MeshStatus(proxies=(misled,)))
    advice = "its agent says A, and we say B; tell both the same (--capture and --interception)"
    assert f"reviews-v1.default: {advice}\n" in istioctl("proxy-status").stderr
    assert advice in istioctl("proxy-status", "reviews-v1").stdout


def test_one_proxy_in_full(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """What it refused, Envoy's reason on one line, the document behind it, and how to look at that."""
    answer(MESH)
    shown = istioctl("ps", "reviews-v1").stdout
    assert "node        sidecar~10.0.0.1~reviews-v1.default~x" in shown
    assert "LDS    STALE     7      6" in shown
    _, _, refused = shown.partition("Refused, and replaced by what was good before:\n")
    assert refused.splitlines() == [
        "  VirtualService default/reviews",
        "    refused:  RDS 9080, by reviews-v1.default",
        "    reason:   bad regex",
        "    look:     istioctl get virtualservice reviews -n default -o yaml",
    ]


def test_a_refusal_without_a_document_and_those_of_others(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """A proxy shows what it refuses now, even when no rule is behind it, and what is out of force because of others."""
    answer(MESH)
    shown = istioctl("ps", "ratings-v1", "-n", "shop").stdout
    assert "LDS 0.0.0.0_80\n    reason:   cannot bind: address in use\n    document: none, or several" in shown
    assert "Out of force, because other proxies refused it:\n  VirtualService default/reviews" in shown


def test_scripts_get_what_the_manager_says(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """A list, or the one that is named; with the states, and the documents that it had taken out of force."""
    answer(MESH)
    first, second = json.loads(istioctl("ps", "-o", "json").stdout)
    assert (first["synced"], first["states"]["LDS"], second["refused"][0]["resource"]) == (False, "STALE", "0.0.0.0_80")
    assert (first["held"][0]["document"]["name"], second["held"]) == ("reviews", [])
    assert yaml.safe_load(istioctl("ps", "ratings-v1.shop", "-o", "yaml").stdout) == second


def test_nobody_connected_is_said(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """An empty table would look like a mistake; a name is then unknown."""
    answer(MeshStatus(proxies=()))
    result = istioctl("ps")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no proxy is connected\n")
    assert istioctl("ps", "reviews-v1").exit_code == 1


def test_a_typo_is_answered_with_what_was_meant(istioctl: Run, answer: Callable[[MeshStatus], None]) -> None:
    """As everywhere."""
    answer(MESH)
    assert 'did you mean "reviews-v1"?' in istioctl("ps", "reviws-v1").stderr


def test_without_a_manager_the_fix_is_named(istioctl: Run, state_dir: Path) -> None:
    """It is the Manager who knows."""
    result = istioctl("ps")
    assert result.exit_code == 1
    assert "start a mesh with: istioctl up mesh.yaml" in result.stderr
