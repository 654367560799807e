"""The `gateways` and `secrets` of a mesh file: where calls from outside come in, and the certificates shown there."""

from collections.abc import Iterable, Iterator

from core.model.labels import Labels
from core.model.service import WorkloadKey
from platforms.local.addresses import MAX_WORKLOADS
from platforms.local.codes import Code
from platforms.local.decode_service import account, labels, locality
from platforms.local.meshfile import GatewaySpec, SecretSpec
from platforms.local.names import DNS_LABEL, DNS_NAME
from platforms.local.reader import Reader

_GATEWAY_FIELDS = ("ports", "labels", "serviceAccount", "locality")
_SECRET_FIELDS = ("cert", "key", "ca")
_AUTO = "auto"
_LABELS = {"istio": "ingressgateway"}
"""What the selector of most Gateways in the world asks for."""


def gateways(reader: Reader | None, namespace: str, *, taken: Iterable[WorkloadKey]) -> tuple[GatewaySpec, ...]:
    """`taken` are the workloads that have their names, and their places, already."""
    entries = reader.mapping() if reader is not None else {}
    found = tuple(_gateway(key, value, namespace) for key, value in entries.items())
    names = set(taken)
    for spec, value in zip(found, entries.values(), strict=True):
        if spec.key in names:
            value.fail_key(Code.TWICE, f"there is a workload {spec.key} already", fix="rename the gateway")
        names.add(spec.key)
        if len(names) == MAX_WORKLOADS + 1:
            message = f"from here on there are more than {MAX_WORKLOADS} workloads (gateways count, too)"
            value.fail_key(Code.TOO_MANY, message, fix="remove some")
    return found


def _gateway(key: str, reader: Reader, namespace: str) -> GatewaySpec:
    fields = reader.fields(_GATEWAY_FIELDS)
    name, place = _name(key, reader, "gateway")
    if "ports" not in fields:
        reader.fail_key(Code.MISSING, "`ports` is missing: nothing would come in", fix="for example ports: {80: 8080}")
    given = labels(fields.get("labels"))
    return GatewaySpec(
        name=name,
        namespace=place or namespace,
        ports=tuple(_ports(fields["ports"])) if "ports" in fields else (),
        labels=Labels.of(_LABELS | given),
        service_account=account(fields.get("serviceAccount")),
        locality=locality(fields.get("locality")),
    )


def _ports(reader: Reader) -> Iterator[tuple[int, int | None]]:
    """The number that Gateways name, and the one that is bound on 127.0.0.1; None finds a free one."""
    for key, value in reader.mapping().items():
        if not key.isdecimal() or not 1 <= int(key) <= 65535:
            fix = "write the port that Gateway documents name, for example 80: 8080"
            value.fail_key(Code.BAD_VALUE, f"{key!r} is not a port number", fix=fix)
        elif value.is_null or value.text() == _AUTO:
            yield int(key), None
        elif (target := value.integer(1, 65535)) is not None:
            yield int(key), target


def secrets(reader: Reader | None, namespace: str) -> tuple[SecretSpec, ...]:
    """Certificates by name; where a name is given with its namespace and without, that is one secret twice."""
    entries = reader.mapping() if reader is not None else {}
    found = tuple(_secret(key, value, namespace) for key, value in entries.items())
    for i, (spec, value) in enumerate(zip(found, entries.values(), strict=True)):
        if spec.secret in [other.secret for other in found[:i]]:
            value.fail_key(Code.TWICE, f"the secret {spec.secret} is there already", fix="remove one of them")
    return found


def _secret(key: str, reader: Reader, namespace: str) -> SecretSpec:
    fields = reader.fields(_SECRET_FIELDS)
    name, place = _secret_name(key, reader)
    for field in ("cert", "key"):
        if field not in fields:
            reader.fail_key(Code.MISSING, f"`{field}` is missing", fix=f"add `{field}: <file in PEM>`")
    certificate, own, roots = (_path(fields.get(field)) for field in _SECRET_FIELDS)
    return SecretSpec(name=name, namespace=place or namespace, certificate=certificate, key=own, roots=roots)


def _path(reader: Reader | None) -> str:
    return (reader.text() if reader is not None else None) or ""


def _name(key: str, reader: Reader, what: str) -> tuple[str, str]:
    """A gateway is called `name`, or `name.namespace`, as services are."""
    name, dot, place = key.partition(".")
    if not DNS_LABEL.fullmatch(name) or (dot and not DNS_LABEL.fullmatch(place)):
        fix = "use lower-case letters, digits and -: `ingress`, or `ingress.shop` for a namespace"
        reader.fail_key(Code.BAD_VALUE, f"{key!r} cannot be the name of a {what}", fix=fix)
    return name, place


def _secret_name(key: str, reader: Reader) -> tuple[str, str]:
    """Names of secrets may hold dots, so the namespace stands in front: `name`, or `namespace/name`."""
    place, slash, name = key.rpartition("/")
    if not DNS_NAME.fullmatch(name) or (slash and not DNS_LABEL.fullmatch(place)):
        fix = "use lower-case letters, digits, - and dots: `shop-cert`, or `shop/shop-cert` for a namespace"
        reader.fail_key(Code.BAD_VALUE, f"{key!r} cannot be the name of a secret", fix=fix)
    return name, place
