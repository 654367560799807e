"""From what somebody typed to an agent's assignment: the options of `istio-agent run`, checked and completed."""

import os
from pathlib import Path
from typing import Literal

import msgspec

from core.errors import Misconfigured
from core.manager.paths import agent_directory, ca_socket, homes, xds_socket
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import AppPort, Capture, Explicit, Interception, Proxyless, Redirected, Workload
from proxy import binary
from proxy.bootstrap import Elsewhere
from proxy.identity.authority import Local, Remote
from proxy.process import Command
from proxy.reports import Assignment
from proxy.settings import AgentSettings, Scrape
from proxy.supervise import Pace, Restart

MANAGER = "ns/istio-system/sa/istiod"
"""Path of the Manager's own identity, as in Istio."""
_HELP = "istio-agent run --help shows how it is written."


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """The options, by their names."""

    name: str
    namespace: str = "default"
    service_account: str = "default"
    address: str
    ports: tuple[str, ...] = ()
    app_address: str = "127.0.0.1"
    capture: Literal["none", "redirect"] = "none"
    interception: Interception = "REDIRECT"
    proxy_mark: int = 0
    http_proxy_port: int = 15007
    labels: tuple[str, ...] = ()
    state_dir: str = ""
    manager: str = ""
    xds: str = ""
    token: str = ""
    roots: str = ""
    trust_domain: str = "cluster.local"
    directory: str = ""
    hold: bool = True
    proxyless: bool = False
    drain: float = 5.0
    ready_port: int | None = None
    metrics_port: int | None = None
    app_metrics: str = ""
    envoy: str = ""
    command: tuple[str, ...] = ()

    @property
    def key(self) -> WorkloadKey:
        return WorkloadKey(self.namespace, self.name)


def assignment(wishes: Wishes) -> Assignment:
    """Raises `Misconfigured` for what is missing or makes no sense, and when there is no Envoy."""
    workload = _workload(wishes)
    return Assignment(
        workload=workload,
        mesh=Mesh(trust_domain=wishes.trust_domain),
        settings=_settings(wishes),
        envoy=_NO_ENVOY if wishes.proxyless else binary.find(wishes.envoy),
        command=_command(wishes, workload),
        pace=Pace(cap=5.0),
    )


def _workload(wishes: Wishes) -> Workload:
    pairs = [label.partition("=") for label in wishes.labels]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise Misconfigured(f"--label {bad[0]} has no value", fix=_HELP)
    return Workload(
        key=wishes.key,
        address=wishes.address,
        service_account=wishes.service_account,
        labels=Labels.of({name: value for name, _, value in pairs}),
        capture=_capture(wishes),
    )


def _capture(wishes: Wishes) -> Capture:
    """Where the kernel redirects, rules are there already (`istio-agent capture apply`); the Manager has the ports."""
    if wishes.proxyless:
        return _proxyless(_ports(wishes))
    if wishes.capture == "redirect":
        return _redirected(wishes)
    if wishes.proxy_mark or wishes.interception == "TPROXY":
        option = "--proxy-mark" if wishes.proxy_mark else "--interception TPROXY"
        raise Misconfigured(f"{option} is for --capture redirect", fix=_HELP)
    return Explicit(app_ports=_ports(wishes), http_proxy_port=wishes.http_proxy_port)


def _redirected(wishes: Wishes) -> Redirected:
    capture = Redirected(mark=wishes.proxy_mark, transparent=wishes.interception == "TPROXY")
    if capture.transparent and capture.mark == capture.tproxy_mark:
        text = f"--proxy-mark {capture.mark} is the mark of TPROXY itself"
        raise Misconfigured(text, fix="Choose another one, here and with istio-agent capture apply: 1336.")
    return capture


_NO_ENVOY = binary.Binary(path="", version="", source="nowhere")


def _proxyless(ports: tuple[AppPort, ...]) -> Proxyless:
    """Callers reach the application itself, so its ports are those that others call."""
    if different := [port for port in ports if port.port != port.target]:
        text = f"--port {different[0].port}:{different[0].target} has two numbers, and there is no proxy between them"
        raise Misconfigured(text, fix="Give the one at which APP listens.")
    return Proxyless(ports=tuple(port.port for port in ports))


def _ports(wishes: Wishes) -> tuple[AppPort, ...]:
    return tuple(_port(text, wishes.app_address) for text in wishes.ports)


def _port(text: str, address: str) -> AppPort:
    port, _, target = text.partition(":")
    return AppPort(_number(port, "--port"), address, _number(target or port, "--port"))


def _number(text: str, option: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Misconfigured(f"{option}: {text!r} is not a port", fix=_HELP)
    return int(text)


def _settings(wishes: Wishes) -> AgentSettings:
    common = AgentSettings(
        directory=str(_directory(wishes)),
        hold_application=wishes.hold,
        restart_application=Restart.NEVER,
        application_ports=_ports(wishes),
        termination_drain=wishes.drain,
        ready_port=wishes.ready_port,
        metrics_port=wishes.metrics_port,
        metrics=_scrape(wishes.app_metrics) if wishes.app_metrics else None,
    )
    if wishes.manager:
        return _elsewhere(wishes, common)
    if not wishes.state_dir:
        raise Misconfigured(
            "no Manager is named", fix="Give --state-dir, or --manager with --xds, --token and --roots."
        )
    state = Path(wishes.state_dir).absolute()
    xds, ca = (tuple(str(of(home, wishes.key)) for home in homes(state)) for of in (xds_socket, ca_socket))
    return msgspec.structs.replace(common, xds_sockets=xds, identity=Local(sockets=ca))


def _elsewhere(wishes: Wishes, common: AgentSettings) -> AgentSettings:
    if not wishes.xds or not wishes.roots:
        raise Misconfigured("--manager alone is not enough", fix="Give --xds HOST:PORT and --roots FILE as well.")
    if not wishes.manager.startswith("https://"):
        raise Misconfigured(f"--manager {wishes.manager} is no https URL", fix=_HELP)
    host, _, port = wishes.xds.rpartition(":")
    manager = str(SpiffeId(wishes.trust_domain, MANAGER))
    remote = Remote(
        url=wishes.manager, token=wishes.token, roots=wishes.roots, identity=manager, mark=wishes.proxy_mark
    )
    xds = Elsewhere(host=host.strip("[]"), port=_number(port, "--xds"), identity=manager)
    return msgspec.structs.replace(common, identity=remote, xds=xds)


def _directory(wishes: Wishes) -> Path:
    if wishes.directory:
        return Path(wishes.directory).absolute()
    if wishes.state_dir:
        return agent_directory(Path(wishes.state_dir).absolute(), wishes.key)
    home = os.environ.get("XDG_STATE_HOME", "")
    state = (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state") / "istio-agent"
    return agent_directory(state, wishes.key)


def _scrape(text: str) -> Scrape:
    place, slash, path = text.partition("/")
    address, _, port = place.rpartition(":")
    return Scrape(address=address or "127.0.0.1", port=_number(port, "--app-metrics"), path=slash + path or "/metrics")


def _command(wishes: Wishes, workload: Workload) -> Command | None:
    """The application is told what `istioctl up` tells it, unless somebody knows better."""
    if not wishes.command:
        return None
    told = {"APP_IP": wishes.address if wishes.proxyless else wishes.app_address}
    if isinstance(workload.capture, Explicit):
        proxy = f"http://{workload.address}:{wishes.http_proxy_port}"
        told |= {"http_proxy": proxy, "HTTP_PROXY": proxy}
    if ports := _ports(wishes):
        told["PORT"] = str(ports[0].target)
    environment = {name: value for name, value in told.items() if name not in os.environ}
    return Command(argv=wishes.command, environment=environment, attached=True)
