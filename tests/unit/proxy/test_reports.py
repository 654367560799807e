"""What goes between an agent's process and who runs it survives the way; options of `istio-agent run` make sense."""

import msgspec
import pytest

from core.errors import Misconfigured
from core.model.labels import Labels
from core.model.service import WorkloadKey
from core.model.workload import AppPort, EntryPort, Explicit, Redirected, Workload
from proxy.binary import Binary
from proxy.bootstrap import Elsewhere
from proxy.drain import inbound
from proxy.identity.authority import Local, Remote
from proxy.process import Command
from proxy.reports import Assignment, Became, Failed, Happened, Said, assignment, encode, report
from proxy.settings import AgentSettings, Scrape
from proxy.state import Phase, State
from proxy.wishes import Wishes
from proxy.wishes import assignment as wished

ENVOY = Binary(path="/bin/envoy", version="1", source="test")
A = WorkloadKey("shop", "a-1")


@pytest.mark.parametrize("capture", [Explicit(app_ports=(AppPort(80, "127.0.0.1", 8080),)), Redirected(mark=1337)])
@pytest.mark.parametrize(
    "identity", [None, Local(sockets=("/s",)), Remote(url="https://m", roots="/r", identity="spiffe://x/y")]
)
def test_an_assignment_arrives_as_it_was(capture: Explicit | Redirected, identity: Local | Remote | None) -> None:
    """Encoded and decoded it is equal, all alternatives included."""
    work = Assignment(
        workload=Workload(key=A, address="10.0.0.1", labels=Labels.of({"app": "a"}), capture=capture),
        settings=AgentSettings(
            directory="/d",
            identity=identity,
            xds=Elsewhere(host="m", port=15012, identity="spiffe://x/y"),
            metrics=Scrape(port=9100),
        ),
        envoy=ENVOY,
        command=Command(argv=("app", "ü"), environment={"A": "b"}),
    )
    assert assignment(encode(work)) == work


@pytest.mark.parametrize(
    "value",
    [
        Happened("envoy.exited", {"status": 1}),
        Became(State(phase=Phase.READY)),
        Said("a line"),
        Failed("taken", "stop it"),
    ],
)
def test_reports_arrive_as_they_were(value: Happened | Became | Said | Failed) -> None:
    """Each kind is told from the others, and fits on one line."""
    line = encode(value).decode()
    assert "\n" not in line
    assert report(line) == value


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "", "{}", '{"report": "new"}', "[1]"])
def test_what_is_no_report_is_told_from_one(line: str) -> None:
    """A broken agent says other things."""
    assert report(line) is None


def test_only_calls_from_others_are_waited_for() -> None:
    """A drain counts connections to the workload's ports, not those of its application to others."""
    own = Workload(key=A, address="127.1.0.1", capture=Explicit(app_ports=(AppPort(80, "127.0.0.1", 80),)))
    assert inbound(own) == r"^listener\.(127\.1\.0\.1_80)\.downstream_cx_active$"
    assert "0\\.0\\.0\\.0_15006" in inbound(Workload(key=A, address="10.0.0.1", capture=Redirected()))
    entry = EntryPort(80, "127.0.0.1", 8080)
    gateway = Workload(key=A, address="127.1.0.2", capture=Explicit(), role="gateway", ports=(entry,))
    assert "127\\.0\\.0\\.1_8080" in inbound(gateway)


LOCAL = Wishes(name="a-1", address="127.1.0.1", state_dir="/state", ports=("80:8080", "9090"), labels=("app=a",))


@pytest.fixture(autouse=True)
def any_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.binary.find", lambda configured="": ENVOY)


def test_wishes_for_a_manager_here() -> None:
    """Ports, labels, sockets and the application's environment come out as typed."""
    work = wished(msgspec.structs.replace(LOCAL, command=("app",), app_metrics=":9100/m"))
    assert isinstance(work.workload.capture, Explicit)
    assert work.workload.capture.app_ports == (AppPort(80, "127.0.0.1", 8080), AppPort(9090, "127.0.0.1", 9090))
    assert work.workload.labels.get("app") == "a"
    assert work.settings.xds_sockets == ("/state/xds/a-1.default",)
    assert work.settings.identity == Local(sockets=("/state/ca/a-1.default",))
    assert work.settings.metrics == Scrape(address="127.0.0.1", port=9100, path="/m")
    assert work.command is not None
    assert work.command.environment["PORT"] == "8080"


def test_wishes_where_the_kernel_leads_traffic() -> None:
    """The application is told of no proxy, and its ports are looked at all the same."""
    wishes = msgspec.structs.replace(LOCAL, capture="redirect", proxy_mark=7, app_address="0.0.0.0", command=("app",))
    work = wished(wishes)
    assert work.workload.capture == Redirected(mark=7)
    transparent = wished(msgspec.structs.replace(wishes, interception="TPROXY")).workload.capture
    assert transparent == Redirected(mark=7, transparent=True)
    assert work.settings.application_ports == (AppPort(80, "0.0.0.0", 8080), AppPort(9090, "0.0.0.0", 9090))
    assert work.command is not None
    assert work.command.environment == {"APP_IP": "0.0.0.0", "PORT": "8080"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"proxy_mark": 7}, "--proxy-mark is for --capture redirect"),
        ({"interception": "TPROXY"}, "--interception TPROXY is for --capture redirect"),
        ({"capture": "redirect", "interception": "TPROXY", "proxy_mark": 1337}, "1337 is the mark of TPROXY itself"),
        ({"state_dir": ""}, "no Manager is named"),
        ({"manager": "https://m"}, "--manager alone"),
        ({"manager": "http://m", "xds": "m:1", "roots": "r"}, "is no https URL"),
        ({"manager": "https://m", "xds": "m", "roots": "r"}, "--xds: 'm' is not a port"),
        ({"ports": ("x",)}, "--port: 'x' is not a port"),
        ({"ports": ("80:70000",)}, "is not a port"),
        ({"labels": ("app",)}, "--label app has no value"),
        ({"app_metrics": "9100x"}, "--app-metrics"),
    ],
)
def test_wishes_that_make_no_sense(changed: dict[str, object], said: str) -> None:
    """Each is refused with the option's name and a way out."""
    with pytest.raises(Misconfigured, match=said) as caught:
        wished(msgspec.structs.replace(LOCAL, **changed))
    assert caught.value.fix
