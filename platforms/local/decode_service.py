"""The `services` of a mesh file: every service and workload, and what is wrong with it."""

import shlex
from typing import get_args

import msgspec

from core.model.labels import NO_LABELS, Labels
from core.model.service import Locality
from core.model.workload import Interception
from platforms.local.codes import Code
from platforms.local.decode_ports import address, addresses, ports
from platforms.local.meshfile import Application, Listens, Metrics, PortSpec, Runs, ServiceSpec, WorkloadSpec
from platforms.local.names import DNS_LABEL, DNS_NAME, LABEL_KEY, LABEL_VALUE, LOCALITY, VARIABLE
from platforms.local.reader import Reader

_SERVICE_FIELDS = ("namespace", "ports", "labels", "serviceAccount", "workloads")
_WORKLOAD_FIELDS = (
    "command", "env", "workingDirectory", "address", "labels", "serviceAccount", "replicas", "locality", "weight",
    "metrics", "proxyless", "interception",
)  # fmt: skip
_RUN_FIELDS = ("env", "workingDirectory")
_MAX_REPLICAS = 256
_INTERCEPTIONS: tuple[Interception, ...] = get_args(Interception)


class Found(msgspec.Struct, frozen=True):
    """A decoded service and where each of its workloads stands in the file."""

    spec: ServiceSpec
    reader: Reader
    workloads: tuple[Reader, ...]


class Decoder:
    """Decodes services with the file's default namespace and remembers where each came from."""

    def __init__(self, namespace: Reader | None) -> None:
        given = namespace.matching(DNS_LABEL, "a namespace", example="default") if namespace else None
        self.namespace = given or "default"
        self.found: list[Found] = []

    def services(self, reader: Reader) -> tuple[ServiceSpec, ...]:
        for key, value in reader.mapping().items():
            self._service(key, value)
        return tuple(found.spec for found in self.found)

    def _service(self, key: str, reader: Reader) -> None:
        fields = reader.fields(_SERVICE_FIELDS)
        name, namespace = self._name(key, reader, fields.get("namespace"))
        common = account(fields.get("serviceAccount"))
        spec = ServiceSpec(
            name=name,
            namespace=namespace,
            ports=ports(fields["ports"]) if "ports" in fields else (),
            labels=Labels.of(labels(fields.get("labels"))),
        )
        readers = fields["workloads"].mapping() if "workloads" in fields else {}
        workloads = tuple(_Workload(spec, key, item).decode(common) for key, item in readers.items())
        spec = msgspec.structs.replace(spec, workloads=workloads)
        self.found.append(Found(spec, reader, tuple(readers.values())))

    def _name(self, key: str, reader: Reader, namespace: Reader | None) -> tuple[str, str]:
        """A service is called `name`, or `name.namespace` where two namespaces have one of that name."""
        name, dot, place = key.partition(".")
        if not DNS_LABEL.fullmatch(name) or (dot and not DNS_LABEL.fullmatch(place)):
            fix = "use lower-case letters, digits and -: `reviews`, or `reviews.shop` for a namespace"
            reader.fail_key(Code.BAD_VALUE, f"{key!r} cannot be the name of a service", fix=fix)
        if namespace is None:
            return name, place or self.namespace
        if dot:
            namespace.fail(Code.EXCLUSIVE, "the service's name already says its namespace", fix="say it once")
        given = namespace.matching(DNS_LABEL, "a namespace", example="default")
        return name, given or self.namespace


class _Workload:
    """One entry of `workloads`."""

    def __init__(self, service: ServiceSpec, key: str, reader: Reader) -> None:
        self.service = service
        self.key = key
        self.reader = reader
        self.fields = reader.fields(_WORKLOAD_FIELDS)

    def decode(self, service_account: str) -> WorkloadSpec:
        if not DNS_LABEL.fullmatch(self.key):
            fix = f"use lower-case letters, digits and -, and add `labels: {{version: {self.key!r}}}` if that matters"
            self.reader.fail_key(Code.BAD_VALUE, f"{self.key!r} cannot be the name of a workload", fix=fix)
        application = self.application()
        return WorkloadSpec(
            name=self.key,
            application=application,
            labels=self.labels(),
            service_account=account(self.fields.get("serviceAccount"), service_account),
            replicas=self.replicas(application),
            locality=locality(self.fields.get("locality")),
            weight=self.number("weight", 1, 1, 1_000_000),
            metrics=self.metrics(),
            proxyless=self.proxyless(),
            interception=self.interception(),
        )

    def application(self) -> Application:
        if "command" in self.fields and "address" in self.fields:
            fix = "keep `command` to have it started, or `address` if it already listens"
            self.fields["address"].fail_key(Code.EXCLUSIVE, "`command` and `address` exclude each other", fix=fix)
        if "command" in self.fields:
            return Runs(command=self.command(self.fields["command"]), env=self.env(), directory=self.directory())
        for name in _RUN_FIELDS:
            if name in self.fields:
                fix = "add `command`, or remove this"
                self.fields[name].fail_key(Code.EXCLUSIVE, f"`{name}` needs a `command` to apply to", fix=fix)
        if "address" in self.fields:
            return self.listens(self.fields["address"])
        if self.service.ports:
            fix = 'add `command: […]` to have it started, or `address: "127.0.0.1:9081"` if it already listens'
            self.reader.fail_key(Code.MISSING, "neither `command` nor `address` is given", fix=fix)
        return Listens()

    def command(self, reader: Reader) -> tuple[str, ...]:
        """A list of words, or one line that is split as a shell would (but no shell runs)."""
        words = [item.text() for item in reader.items()] if reader.is_list else _split(reader)
        if reader.is_list and not words:
            reader.fail(Code.BAD_VALUE, "the command is empty", fix="write [program, argument, …]")
        return tuple(word for word in words if word is not None)

    def listens(self, reader: Reader) -> Listens:
        known: tuple[PortSpec, ...] = self.service.ports
        if reader.is_mapping:
            return addresses(reader, known)
        return address(reader, known)

    def env(self) -> tuple[tuple[str, str], ...]:
        entries = self.fields["env"].mapping() if "env" in self.fields else {}
        for name, value in entries.items():
            if not VARIABLE.fullmatch(name):
                fix = "use letters, digits and _"
                value.fail_key(Code.BAD_VALUE, f"{name!r} cannot be the name of a variable", fix=fix)
        texts = {name: "" if value.is_null else value.text() for name, value in entries.items()}
        return tuple((name, text) for name, text in texts.items() if text is not None)

    def directory(self) -> str:
        reader = self.fields.get("workingDirectory")
        return (reader.text() if reader else None) or "."

    def labels(self) -> Labels:
        """`app` and `version` as Istio's telemetry expects them, unless the file says otherwise."""
        return Labels.of({"app": self.service.name, "version": self.key} | labels(self.fields.get("labels")))

    def replicas(self, application: Application) -> int:
        count = self.number("replicas", 1, 0, _MAX_REPLICAS)
        if count > 1 and isinstance(application, Listens) and application.listeners:
            fix = "write one workload per address"
            self.fields["replicas"].fail(Code.EXCLUSIVE, "several replicas cannot listen on one `address`", fix=fix)
        return count

    def proxyless(self) -> bool:
        """Others call such an application where the mesh has given it a place."""
        chosen = "proxyless" in self.fields and self.fields["proxyless"].choice(("true", "false")) == "true"
        if chosen and "address" in self.fields:
            fix = "give `command` instead, and have it listen at $APP_IP:$PORT"
            self.fields["proxyless"].fail_key(Code.EXCLUSIVE, "`proxyless` and `address` exclude each other", fix=fix)
        return chosen

    def interception(self) -> Interception | None:
        """As the annotation `sidecar.istio.io/interceptionMode` says it in Kubernetes."""
        chosen = self.fields["interception"].choice(_INTERCEPTIONS) if "interception" in self.fields else None
        return next((each for each in _INTERCEPTIONS if each == chosen), None)

    def metrics(self) -> Metrics | None:
        """As annotations `prometheus.io/port` and `/path` say it in Kubernetes; the port is a must."""
        if "metrics" not in self.fields:
            return None
        reader = self.fields["metrics"]
        fields = reader.fields(("port", "path"))
        if "port" not in fields:
            reader.fail(Code.MISSING, "`metrics` has no `port`", fix="write `metrics: {port: 9100}`")
            return None
        path = fields["path"].text() if "path" in fields else None
        if path is not None and not path.startswith("/"):
            fields["path"].fail(Code.BAD_VALUE, f"{path!r} is no path", fix="begin with /")
            return None
        port = fields["port"].integer(1, 65535)
        return None if port is None else Metrics(port=port, **({"path": path} if path else {}))

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self.fields[name].integer(low, high) if name in self.fields else default
        return default if value is None else value


def _split(reader: Reader) -> list[str]:
    text = reader.text()
    try:
        words = shlex.split(text or "")
    except ValueError as error:
        reader.fail(Code.BAD_VALUE, f"cannot be split into words: {error}", fix="close the quote, or write a list")
        return []
    if text is not None and not words:
        reader.fail(Code.BAD_VALUE, "the command is empty", fix="write [program, argument, …]")
    return words


def account(reader: Reader | None, default: str = "default") -> str:
    """A service account."""
    given = reader.matching(DNS_NAME, "the name of a service account", example="reviews") if reader else None
    return given or default


def locality(reader: Reader | None) -> Locality:
    """Parts may be left out at the end, also all of them; a wrong one is nowhere."""
    given = reader.matching(LOCALITY, "region/zone/subzone", example="eu-west/1a") if reader else None
    return Locality.parse(given or "")


def labels(reader: Reader | None) -> dict[str, str]:
    """As they are written; a wrong one is left out."""
    if reader is None:
        return dict(NO_LABELS)
    result: dict[str, str] = {}
    for key, value in reader.mapping().items():
        if not LABEL_KEY.fullmatch(key):
            value.fail_key(Code.BAD_VALUE, f"{key!r} cannot be a label", fix="write for example `team`")
        text = "" if value.is_null else value.matching(LABEL_VALUE, "a label value", example="v1")
        if text is not None:
            result[key] = text
    return result
