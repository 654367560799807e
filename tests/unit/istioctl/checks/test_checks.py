"""`istioctl check` judges facts: each trouble is said in plain words, with the fix, and nothing else is."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import Result

from core.errors import Misconfigured
from core.manager.status import Delivery, Held, MeshStatus, ProxyStatus, Refusal
from core.model.config import ConfigKey
from core.model.service import WorkloadKey
from istioctl.checks import machine, mesh, redirect, report, state
from istioctl.checks.all import Capture, Wanted, look
from istioctl.checks.mesh import Certificate, Finding, Proxy
from istioctl.checks.state import Leftover
from istioctl.checks.verdict import Category, Outcome, Verdict, doubtful, failed, good, worst
from proxy.binary import Binary, Machine

Run = Callable[..., Result]

NOW = 1_800_000_000.0
KEY = WorkloadKey("default", "reviews-v1")


def wrong(checks: tuple[Verdict, ...]) -> list[tuple[Outcome, str, str]]:
    return [(each.outcome, each.reason, each.fix) for each in checks if each.outcome is not Outcome.OK]


def one(checks: tuple[Verdict, ...]) -> tuple[Outcome, str]:
    """The only thing that is wrong, as one text; it always has a fix."""
    ((outcome, reason, fix),) = wrong(checks)
    assert reason
    assert fix
    return outcome, f"{reason} | {fix}"


# -- this machine ------------------------------------------------------------------------------------------------------

MACHINE = machine.Facts(
    python=(3, 12, 1),
    machine=Machine(system="Linux", machine="x86_64", libc="glibc", version=(2, 36)),
    envoy=Binary(path="/e", version="1.40.0", source="PATH"),
    now=NOW,
    written=NOW - 1000,
    files=4096,
    most_files=4096,
)


def test_a_machine_that_is_as_needed() -> None:
    """Nothing is wrong with it, and what was found is told."""
    checks = machine.judge(MACHINE)
    assert wrong(checks) == []
    assert any("Envoy 1.40.0 runs (/e, from PATH)" in each.text for each in checks)


@pytest.mark.parametrize(
    ("change", "outcome", "said"),
    [
        ({"python": (3, 10, 9)}, Outcome.FAILED, "it is 3.10.9"),
        (
            {"envoy": Misconfigured("no Envoy to run", fix="pip install it")},
            Outcome.FAILED,
            "no Envoy to run | pip install",
        ),
        ({"envoy": Binary(path="/e", version="1.20.1", source="PATH")}, Outcome.FAILED, "it is 1.20.1"),
        ({"envoy": Binary(path="/e", version="1.99.0-dev", source="PATH")}, Outcome.WARNING, "it is 1.99.0"),
        ({"machine": Machine(system="Linux", machine="x86_64", libc="musl")}, Outcome.WARNING, "musl"),
        (
            {"machine": Machine(system="Linux", machine="x86_64", libc="glibc", version=(2, 28))},
            Outcome.WARNING,
            "glibc 2.28 is older",
        ),
        ({"loopback": "Cannot assign requested address"}, Outcome.FAILED, "ip link set lo up"),
        ({"ports": "Address already in use"}, Outcome.FAILED, "ss -tan"),
        ({"now": NOW - 4000}, Outcome.FAILED, "3000 s behind"),
        ({"files": 300}, Outcome.WARNING, "it is 300 | ulimit -n 1024"),
        ({"files": 64, "most_files": 64}, Outcome.FAILED, "prlimit --nofile=1024"),
    ],
)
def test_what_is_wrong_with_a_machine(change: dict[str, object], outcome: Outcome, said: str) -> None:
    """Each trouble is told alone, with what to do."""
    found, text = one(machine.judge(msgspec.structs.replace(MACHINE, **change)))
    assert found is outcome
    assert said in text


def test_the_facts_are_those_of_this_machine() -> None:
    """The fake above has the shape of the truth: here, where tests run Envoys, everything is as needed."""
    facts = machine.gather()
    assert isinstance(facts.envoy, Binary)
    assert [each for each in wrong(machine.judge(facts)) if each[0] is Outcome.FAILED] == []


def test_an_envoy_that_is_named_is_the_one_that_is_looked_at() -> None:
    """A wrong path is not passed over for one that works."""
    facts = machine.gather("/no/such/envoy")
    assert "/no/such/envoy" in one(machine.judge(facts))[1]


# -- the state directory -----------------------------------------------------------------------------------------------

STATE = state.Facts(path=Path("/s"), free=10**11)


@pytest.mark.parametrize(
    ("change", "outcome", "said"),
    [
        ({"unusable": "/s is not a directory"}, Outcome.FAILED, "give another --state-dir"),
        ({"free": 100_000_000}, Outcome.WARNING, "100 MB are free"),
        ({"free": 1_000_000}, Outcome.FAILED, "1 MB are free"),
        ({"path": Path("/" + "s" * 60)}, Outcome.WARNING, "shorter --state-dir"),
        ({"leftovers": (Leftover(7, "envoy"), Leftover(9, "envoy"))}, Outcome.FAILED, "kill 7 9"),
        ({"files": True}, Outcome.WARNING, "rm -r /s"),
    ],
)
def test_what_is_wrong_with_a_state_directory(change: dict[str, object], outcome: Outcome, said: str) -> None:
    """Each trouble is told alone, with what to do."""
    found, text = one(state.judge(msgspec.structs.replace(STATE, **change)))
    assert found is outcome
    assert said in text


@pytest.mark.parametrize("change", [{}, {"files": True, "held": True}, {"files": True, "kept": True}])
def test_files_of_a_running_or_kept_mesh_are_no_leftovers(change: dict[str, object]) -> None:
    """They are where they belong."""
    assert wrong(state.judge(msgspec.structs.replace(STATE, **change))) == []


def test_looking_at_a_state_directory_changes_nothing(tmp_path: Path) -> None:
    """One that is not there is not made."""
    facts = state.gather(tmp_path / "not" / "there")
    assert (facts.unusable, facts.held, facts.files, facts.leftovers) == ("", False, False, ())
    assert list(tmp_path.iterdir()) == []


def test_a_killed_mesh_is_noticed(tmp_path: Path) -> None:
    """Its files are there, and nobody holds its lock."""
    (tmp_path / "proxies").mkdir()
    (tmp_path / "lock").touch()
    facts = state.gather(tmp_path)
    assert (facts.files, facts.held) == (True, False)


def test_a_file_in_the_place_of_the_directory_is_noticed(tmp_path: Path) -> None:
    """Nothing can be made below it."""
    (tmp_path / "file").touch()
    assert "is not a directory" in state.gather(tmp_path / "file" / "state").unusable


# -- capture redirect --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        redirect.Facts(missing=Misconfigured("no ip", fix="install it")),
        redirect.Facts(refused=Misconfigured("no namespaces")),
        redirect.Facts(rules="no such table"),
    ],
)
def test_what_keeps_redirect_from_working(facts: redirect.Facts) -> None:
    """Each is a failure with a fix; what depends on it is not looked at."""
    assert one(redirect.judge(facts))[0] is Outcome.FAILED


def test_a_kernel_without_tproxy_is_doubtful_for_who_wants_it() -> None:
    """Nothing fails that nobody asked for."""
    found = redirect.judge(redirect.Facts(tproxy=Misconfigured("no TPROXY", fix="sudo modprobe -a nft_tproxy")))
    assert [(each.outcome, each.fix) for each in found if each.reason] == [
        (Outcome.WARNING, "sudo modprobe -a nft_tproxy")
    ]


def test_redirect_is_tried_and_not_guessed() -> None:
    """Here, where tests make namespaces, it works."""
    assert wrong(redirect.judge(redirect.gather())) == []


# -- the running mesh --------------------------------------------------------------------------------------------------

VALID = Certificate(NOW - 1000, NOW + 80_000)
PROXY = Proxy(workload=KEY, state="LIVE", certificates=(VALID,))
STATUS = MeshStatus(proxies=(ProxyStatus(workload=KEY, node="n", connected_since=NOW),))
MESH = mesh.Facts(now=NOW, manager="v1", status=STATUS, proxies=(PROXY,))


def proxy(**change: object) -> tuple[Proxy, ...]:
    return (msgspec.structs.replace(PROXY, **change),)


def test_a_mesh_in_order() -> None:
    """Nothing is wrong with it, and it says for how long."""
    checks = mesh.judge(MESH)
    assert wrong(checks) == []
    assert any("for at least 22h" in each.text for each in checks)


DOCUMENT = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
REFUSAL = Refusal(type="RDS", resource="80", reason="bad")
HELD = Held(document=DOCUMENT, workload=KEY, refusal=REFUSAL)
BEHIND = ProxyStatus(workload=KEY, node="n", connected_since=NOW, deliveries=(Delivery(type="CDS", waiting=True),))


@pytest.mark.parametrize(
    ("change", "outcome", "said"),
    [
        ({"status": MeshStatus(proxies=())}, Outcome.FAILED, "not connected: reviews-v1.default"),
        ({"status": MeshStatus(proxies=(BEHIND,))}, Outcome.FAILED, "istioctl proxy-status reviews-v1.default"),
        (
            {"status": MeshStatus(proxies=STATUS.proxies, held=(HELD,))},
            Outcome.FAILED,
            "VirtualService",
        ),
        ({"errors": (Finding("VirtualService a/b", "[X] no"), Finding("c", "d"))}, Outcome.WARNING, "and 1 more"),
        ({"proxies": proxy(state="INITIALIZING")}, Outcome.FAILED, "INITIALIZING"),
        ({"proxies": proxy(unready="the application does not listen")}, Outcome.FAILED, "does not listen"),
        ({"proxies": proxy(certificates=())}, Outcome.WARNING, "none: reviews-v1.default"),
        ({"proxies": proxy(certificates=(Certificate(NOW - 99, NOW - 5),))}, Outcome.FAILED, "ended 5s ago"),
        ({"proxies": proxy(certificates=(Certificate(NOW + 70, NOW + 99),))}, Outcome.FAILED, "begins in 1m10s"),
        ({"proxies": proxy(certificates=(Certificate(NOW - 90, NOW + 10),))}, Outcome.WARNING, "ends in 10s"),
    ],
)
def test_what_is_wrong_with_a_mesh(change: dict[str, object], outcome: Outcome, said: str) -> None:
    """Each trouble is told alone, with what to do."""
    found, text = one(mesh.judge(msgspec.structs.replace(MESH, **change)))
    assert found is outcome
    assert said in text


def test_a_replaced_certificate_does_not_count() -> None:
    """While a proxy holds an old one and a new one, the new one decides."""
    both = (Certificate(NOW - 99, NOW - 5), VALID)
    assert wrong(mesh.judge(msgspec.structs.replace(MESH, proxies=proxy(certificates=both)))) == []


def test_without_a_manager_the_proxies_are_looked_at_all_the_same() -> None:
    """Traffic flows on without it, and that is worth knowing."""
    facts = mesh.Facts(now=NOW, trouble="nothing answers", fix="start it", proxies=(PROXY,))
    assert one(mesh.judge(facts)) == (Outcome.FAILED, "nothing answers | start it")
    assert len(mesh.judge(facts)) > 1


def test_certificates_are_read_from_what_envoy_says() -> None:
    """The chain's first certificate is the proxy's; the roots are not."""
    leaf = {
        "valid_from": "2026-11-22T17:26:17Z",
        "expiration_time": "2026-11-23T17:27:17Z",
        "subject_alt_names": [{"uri": "spiffe://a/b"}],
    }
    root = leaf | {"subject_alt_names": []}
    answer = {"certificates": [{"ca_cert": [root], "cert_chain": [leaf, root]}, {"ca_cert": [root]}]}
    (found,) = mesh.certificates(json.dumps(answer).encode())
    assert (found.ends - found.begins, found.names) == (86460.0, ("spiffe://a/b",))
    assert mesh.certificates(b"nonsense") == ()


# -- how it is told ----------------------------------------------------------------------------------------------------

FOUND = (
    Category(name="A", checks=(good("one"), doubtful("two", "why", fix="do"))),
    Category(name="B", checks=(failed("three", "because\nof this", fix="act"),)),
)


def test_everything_or_only_what_is_wrong() -> None:
    """Reasons and fixes stand below what is wrong; the short form leaves out the rest."""
    whole = click.unstyle(report.text(FOUND)).splitlines()
    assert whole[:5] == ["A", "√ one", *click.unstyle(report.short(FOUND[:1])).splitlines()]
    assert "one" not in report.short(FOUND)
    assert report.short(FOUND[:0]) == ""
    assert "    of this" in report.short(FOUND).splitlines()


def test_the_worst_decides() -> None:
    """A doubt is no failure."""
    assert [worst(each) for each in (FOUND, FOUND[:1], ())] == [Outcome.FAILED, Outcome.WARNING, Outcome.OK]
    assert report.summary(FOUND) == "3 looked at, 1 wrong, 1 doubtful: this will not work"


def test_what_auto_lacks_is_only_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """`redirect` asked for by name fails; nobody who wants `none` hears of it."""
    facts = redirect.Facts(refused=Misconfigured("no namespaces", fix="allow them"))
    monkeypatch.setattr(redirect, "gather", lambda: facts)
    captures: tuple[Capture, ...] = ("auto", "none", "redirect")
    outcomes = [worst(look(Wanted(state=Path.home() / ".istio-test", capture=each))) for each in captures]
    assert outcomes == [Outcome.WARNING, Outcome.OK, Outcome.FAILED]


def test_the_command_says_it_and_exits_accordingly(istioctl: Run, tmp_path: Path) -> None:
    """0 when all is well, 1 when something will not work; JSON has the same in its own words."""
    where = ("--state-dir", str(tmp_path / "state"))
    assert istioctl(*where, "check", "--capture", "none").exit_code == 0
    result = istioctl(*where, "check", "--envoy", "/no/such/envoy", "-o", "json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["schema"], said["outcome"]) == (1, "istioctl.check/v1", "failed")
    (found,) = [each for part in said["categories"] for each in part["checks"] if each["outcome"] == "failed"]
    assert "/no/such/envoy" in found["reason"]


def test_it_does_not_take_long(tmp_path: Path) -> None:
    """At most 3 s, namespaces and all."""
    began = time.monotonic()
    look(Wanted(state=tmp_path, capture="redirect"))
    assert time.monotonic() - began < 3.0
    assert os.listdir(tmp_path) == []
