"""`shift`: plans as values, then the command against a real config API over a store in memory."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import Result

from core.diagnostics import Diagnostic, Severity
from core.errors import Misconfigured
from core.manager.api.objects import Metadata, Resource
from core.model.config import ConfigKey, Origin
from istioctl import applying
from istioctl.applying import Rehearsal, Wanted
from istioctl.client import Api
from istioctl.shifting.policy import plan_policy
from istioctl.shifting.rule import plan_rule
from istioctl.shifting.words import Target, parse_target, parse_weights
from istioctl.testing.alone import ApiAlone, Run

Json = dict[str, object]

REVIEWS = Target("reviews", "default")


def stored(kind: str, spec: str, *, name: str = "reviews", namespace: str = "default") -> Resource:
    return Resource(
        api_version="networking.istio.io/v1",
        kind=kind,
        metadata=Metadata(name=name, namespace=namespace, resource_version="5", labels={"team": "a"}, generation=3),
        spec=msgspec.Raw(msgspec.json.encode(yaml.safe_load(spec))),
    )


def rule(spec: str, **place: str) -> Resource:
    return stored("VirtualService", spec, **place)


def policy(spec: str, **place: str) -> Resource:
    return stored("DestinationRule", spec, **place)


def spec(resource: Resource) -> Json:
    return msgspec.json.decode(resource.spec, type=dict[str, object])


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "namespace", "expected"),
    [
        ("reviews", None, REVIEWS),
        ("reviews", "shop", Target("reviews", "shop")),
        ("reviews.shop", None, Target("reviews", "shop")),
        ("reviews.shop.svc", "shop", Target("reviews", "shop")),
        ("Reviews.shop.svc.cluster.local", None, Target("reviews", "shop")),
    ],
)
def test_a_service_has_several_names(text: str, namespace: str | None, expected: Target) -> None:
    """Short, with its namespace, or in full."""
    assert parse_target(text, namespace) == expected


@pytest.mark.parametrize(("text", "namespace"), [("api.example.com", None), ("", None), ("reviews.shop", "default")])
def test_what_is_no_service_is_refused(text: str, namespace: str | None) -> None:
    """A host outside the mesh, and a namespace that contradicts the command line."""
    with pytest.raises(Misconfigured):
        parse_target(text, namespace)


def test_shares_keep_their_order() -> None:
    """A share of 0 is one."""
    assert list(parse_weights(["v2=100", "v1=0"]).items()) == [("v2", 100), ("v1", 0)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["v1"], '"v1" is no share'),
        (["=100"], '"=100" is no share'),
        (["v1=-5", "v2=105"], '"v1=-5" is no share'),
        (["v1=99.5", "v2=0.5"], "no share"),
        (["v1=٩٠", "v2=10"], "no share"),
        (["v1=50", "v1=50"], "v1 is given twice"),
        (["v1=90", "v2=9"], "add up to 99"),
        (["v1=0"], "add up to 0"),
    ],
)
def test_shares_that_make_no_sense_are_refused(words: list[str], said: str) -> None:
    """Numbers that add up to 100, each subset once."""
    with pytest.raises(Misconfigured, match=said):
        parse_weights(words)


# -- plans -------------------------------------------------------------------------------------------------------------


def test_a_new_rule_sends_shares_to_subsets() -> None:
    """Nothing is stored: a VirtualService of the service's name, and a DestinationRule with a label per subset."""
    planned = plan_rule(REVIEWS, {"v1": 90, "v2": 10}, ())
    assert (planned.stored, planned.wanted.metadata) == (None, Metadata(name="reviews", namespace="default"))
    assert spec(planned.wanted) == yaml.safe_load("""
        hosts: [reviews]
        http:
        - route:
          - {destination: {host: reviews, subset: v1}, weight: 90}
          - {destination: {host: reviews, subset: v2}, weight: 10}
    """)
    subsets = plan_policy(REVIEWS, ["v1", "v2"], ())
    assert subsets
    assert spec(subsets.wanted) == yaml.safe_load("""
        host: reviews
        subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
    """)


def test_everything_but_the_shares_stays() -> None:
    """Routes with conditions, the timeout, ports, the headers of a share that stays, labels of the document."""
    before = """
        hosts: [reviews]
        http:
        - match: [{headers: {end-user: {exact: jason}}}]
          route: [{destination: {host: reviews, subset: v2}}]
        - name: rest
          timeout: 3s
          route:
          - {destination: {host: reviews, subset: v1, port: {number: 80}}, headers: {request: {set: {a: b}}}, weight: 5}
          - {destination: {host: reviews, subset: v2, port: {number: 80}}, weight: 5}
    """
    planned = plan_rule(REVIEWS, {"v1": 30, "v3": 70}, (rule(before),))
    expected = yaml.safe_load(before)
    expected["http"][1]["route"] = yaml.safe_load("""
        - {destination: {host: reviews, subset: v1, port: {number: 80}}, headers: {request: {set: {a: b}}}, weight: 30}
        - {destination: {host: reviews, subset: v3, port: {number: 80}}, weight: 70}
    """)
    assert spec(planned.wanted) == expected
    assert (planned.wanted.metadata.labels, planned.revision) == ({"team": "a"}, "5")


ROUTE = "route: [{destination: {host: reviews}}]"
OWN_HEADERS = "{destination: {host: reviews, subset: v1}, headers: {request: {remove: [a]}}}"
PORTS = ", ".join(f"{{destination: {{host: reviews, port: {{number: {n}}}}}, weight: 1}}" for n in (1, 2))


@pytest.mark.parametrize(
    "text",
    [
        f"{{hosts: [reviews], http: [{{match: [{{uri: {{prefix: /}}}}], {ROUTE}}}]}}",
        f"{{hosts: [{REVIEWS.host}], http: [{{route: [{{destination: {{host: {REVIEWS.host}}}}}]}}]}}",
    ],
)
def test_other_ways_to_say_the_same_are_simple_too(text: str) -> None:
    """A match for every path is none; a host may be written in full, and stays as it is written."""
    planned = plan_rule(REVIEWS, {"v1": 100}, (rule(text),))
    host = re.search(r"destination: {host: ([\w.]+)", text)
    assert host
    http = spec(planned.wanted)["http"]
    assert isinstance(http, list)
    assert http[-1]["route"] == [{"destination": {"host": host[1], "subset": "v1"}, "weight": 100}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{{hosts: [reviews, ratings], http: [{{{ROUTE}}}]}}", "has several hosts"),
        (f"{{hosts: [reviews], http: [{{match: [{{uri: {{prefix: /a}}}}], {ROUTE}}}]}}", "no route without conditions"),
        (f"{{hosts: [reviews], http: [{{{ROUTE}}}, {{{ROUTE}}}]}}", "several routes without conditions"),
        ("{hosts: [reviews], http: [{redirect: {uri: /x}}]}", "does not forward"),
        ("{hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}", "other services"),
        ("{hosts: ['*.default.svc.cluster.local'], http: [{route: [{destination: {host: x}}]}]}", "wildcard"),
        (f"{{hosts: [reviews], http: [{{route: [{OWN_HEADERS}]}}]}}", "changes headers of what goes to v1"),
        (f"{{hosts: [reviews], http: [{{route: [{PORTS}]}}]}}", "several ports"),
        (f"{{hosts: [ratings], http: [{{{ROUTE}}}]}}", "has the name that a new one would get"),
        (f"{{hosts: [reviews], gateways: [gw], http: [{{{ROUTE}}}]}}", "has the name that a new one would get"),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_simple_is_refused(text: str, why: str) -> None:
    """With the reason, and how to do it by hand."""
    with pytest.raises(Misconfigured, match=f"VirtualService default/reviews .*{why}") as raised:
        plan_rule(REVIEWS, {"v2": 100}, (rule(text),))
    assert raised.value.fix.startswith("istioctl get virtualservice reviews -n default -o yaml")


HERE = f"{{hosts: [reviews.default.svc.cluster.local], http: [{{{ROUTE}}}]}}"


def test_a_rule_in_another_namespace_counts_where_it_is_seen() -> None:
    """It is left alone; one that only its own namespace sees does not matter to callers here."""
    with pytest.raises(Misconfigured, match=r"VirtualService shop/x .*in another namespace"):
        plan_rule(REVIEWS, {"v1": 100}, (rule(HERE, name="x", namespace="shop"),))
    private = HERE.replace("http", "exportTo: ['.'], http")
    assert plan_rule(REVIEWS, {"v1": 100}, (rule(private, name="x", namespace="shop"),)).stored is None
    with pytest.raises(Misconfigured, match="not the only one for reviews: there is default/y, too"):
        plan_rule(REVIEWS, {"v1": 100}, (rule(HERE, name="x"), rule(HERE, name="y")))


SUBSETS = "{host: reviews, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {v: '1'}}]}"


def test_only_missing_subsets_are_added() -> None:
    """What is defined stays as it is; when nothing is missing, nothing is written."""
    assert plan_policy(REVIEWS, ["v1"], (policy(SUBSETS, name="x"),)) is None
    planned = plan_policy(REVIEWS, ["v1", "v2"], (policy(SUBSETS, name="x"),))
    assert planned
    expected = yaml.safe_load(SUBSETS)
    expected["subsets"].append({"name": "v2", "labels": {"version": "v2"}})
    assert (spec(planned.wanted), planned.wanted.metadata.name) == (expected, "x")


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("{host: reviews.default.svc.cluster.local, subsets: []}", {"namespace": "istio-system"}, "has no subset v2"),
        ("{host: '*.default.svc.cluster.local'}", {"name": "all"}, "is for a wildcard"),
        ("{host: ratings}", {}, "has the name that a new one would get"),
    ],
)
def test_policies_that_are_not_simple_are_refused(text: str, place: dict[str, str], why: str) -> None:
    """A new document would take the place of what they say."""
    with pytest.raises(Misconfigured, match=why):
        plan_policy(REVIEWS, ["v2"], (policy(text, **place),))


# -- the command -------------------------------------------------------------------------------------------------------


class Manager(ApiAlone):
    async def specs(self) -> dict[str, object]:
        return {document.key.kind: msgspec.json.decode(document.spec) for document in await self.store.list()}


@pytest.fixture
async def manager(istioctl: Run, state_dir: Path) -> AsyncIterator[Manager]:
    running = Manager(istioctl)
    async with running.serving(state_dir):
        yield running


def undo_of(result: Result) -> list[str]:
    """The lines after "to undo it:"."""
    return [line.strip() for line in result.stderr.partition("to undo it:\n")[2].splitlines()]


async def test_a_shift_is_written_printed_and_undone(manager: Manager) -> None:
    """stdout is YAML that can be applied again; the commands that are printed take everything back."""
    result = await manager.istioctl("shift", "reviews", "v1=90", "v2=10")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == [
        "destinationrule.networking.istio.io/reviews created",
        "virtualservice.networking.istio.io/reviews created",
    ]
    assert {each["kind"]: each["spec"] for each in yaml.safe_load_all(result.stdout)} == await manager.specs()
    again = await manager.istioctl("apply", "-f", "-", stdin=result.stdout)
    assert [line.partition(" ")[2] for line in again.stdout.splitlines()] == ["unchanged", "unchanged"]
    for line in undo_of(result):
        assert (await manager.istioctl(*shlex.split(line)[1:])).exit_code == 0
    assert await manager.specs() == {}


async def test_the_next_shift_is_undone_by_the_shares_before(manager: Manager) -> None:
    """What was in percent comes back in percent; doing the same again changes nothing, and needs no undoing."""
    await manager.istioctl("shift", "reviews", "v1=90", "v2=10")
    before = await manager.specs()
    result = await manager.istioctl("shift", "reviews", "v2=100")
    assert undo_of(result) == ["istioctl shift reviews v1=90 v2=10"]
    same = await manager.istioctl("shift", "reviews", "v2=100")
    assert same.stderr == "virtualservice.networking.istio.io/reviews unchanged\n"
    await manager.istioctl(*shlex.split(undo_of(result)[0])[1:])
    assert await manager.specs() == before


async def test_what_was_not_in_percent_is_undone_by_the_document(manager: Manager) -> None:
    """A script that applies the old document, exactly."""
    text = yaml.safe_dump_all([yaml.safe_load(f"""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{name: reviews, namespace: shop}}
        spec: {{hosts: [reviews], http: [{{{ROUTE}}}]}}
    """)])  # fmt: skip
    await manager.istioctl("apply", "-f", "-", stdin=text)
    before = await manager.specs()
    result = await manager.istioctl("shift", "reviews", "v1=100", "-n", "shop")
    first, _, rest = result.stderr.partition("to undo it:\n")[2].partition("\n")
    assert first == "istioctl -n shop apply -f - <<'EOF'"
    document, _, _ = rest.partition("\nEOF\n")
    await manager.istioctl("-n", "shop", "apply", "-f", "-", stdin=document)
    assert (await manager.specs())["VirtualService"] == before["VirtualService"]


async def test_a_dry_run_writes_nothing(manager: Manager) -> None:
    """It prints the same documents, as YAML or as a list in JSON."""
    result = await manager.istioctl("shift", "reviews", "v1=100", "--dry-run")
    assert [each["kind"] for each in yaml.safe_load_all(result.stdout)] == ["DestinationRule", "VirtualService"]
    assert result.stderr == "(dry run: nothing was written)\n"
    listed = await manager.istioctl("shift", "reviews", "v1=100", "--dry-run", "-o", "json")
    assert msgspec.json.decode(listed.stdout)["items"] == list(yaml.safe_load_all(result.stdout))
    assert await manager.specs() == {}


async def test_what_the_manager_does_not_take_is_not_half_written(manager: Manager) -> None:
    """Everything is rehearsed first: a subset whose name cannot be one leaves no document behind."""
    result = await manager.istioctl("shift", "reviews", "V_1=100")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the subset name 'V_1' is not a DNS label" in result.stderr
    assert await manager.specs() == {}


async def test_what_the_manager_finds_wrong_is_told(manager: Manager) -> None:
    """A version that nobody runs: it is written, and the warning says what calls get."""
    key = ConfigKey("networking.istio.io", "DestinationRule", "default", "reviews")
    manager.findings[key] = (
        Diagnostic(
            code="IST0173",
            severity=Severity.WARNING,
            message="selects nobody",
            fix="start one",
            origin=Origin(key, "spec"),
        ),
    )
    result = await manager.istioctl("shift", "reviews", "v9=100")
    assert result.exit_code == 0
    assert "Warning [IST0173] DestinationRule default/reviews spec: selects nobody; start one" in result.stderr


async def test_somebody_elses_change_is_not_overwritten(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and writing the document changed: nothing is lost, and the user is asked to do it again."""
    await manager.istioctl("shift", "reviews", "v1=100")
    (document,) = [each for each in await manager.store.list() if each.key.kind == "VirtualService"]
    loop, original = asyncio.get_running_loop(), applying.rehearse
    other = msgspec.structs.replace(document, spec=document.spec.replace(b'"weight":100', b'"weight":7'))

    def rehearse(api: Api, wanted: Iterable[Wanted]) -> Rehearsal:
        found = original(api, wanted)
        asyncio.run_coroutine_threadsafe(manager.store.put(other), loop).result(5)
        return found

    monkeypatch.setattr(applying, "rehearse", rehearse)
    result = await manager.istioctl("shift", "reviews", "v1=50", "v2=50")
    assert result.exit_code == 1
    assert "somebody else changed " in result.stderr
    assert "virtualservice.networking.istio.io/reviews meanwhile" in result.stderr
    assert (await manager.store.get(document.key)).spec == other.spec  # type: ignore[union-attr]


async def test_undoing_names_the_state_directory_if_need_be(
    manager: Manager, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command works in a shell that knows nothing of this one."""
    monkeypatch.delenv("ISTIO_STATE_DIR")
    result = await manager.istioctl("--state-dir", str(state_dir), "shift", "reviews", "v1=100")
    assert undo_of(result)[0] == f"istioctl --state-dir {state_dir} delete virtualservice reviews"
