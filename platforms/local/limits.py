"""What can only be said of all services together: names that clash, and more than the address plan holds."""

from collections.abc import Iterator, Sequence

from core.model.service import WorkloadKey
from platforms.local.addresses import MAX_SERVICES, MAX_WORKLOADS
from platforms.local.codes import Code
from platforms.local.decode_service import Found
from platforms.local.reader import Reader


def check_names(services: Sequence[Found]) -> None:
    """Services within a namespace, and workloads within a namespace, have names of their own."""
    seen: dict[tuple[str, str], Reader] = {}
    for found in services:
        first = seen.setdefault((found.spec.namespace, found.spec.name), found.reader)
        if first is not found.reader:
            message = f"{found.spec.name} in namespace {found.spec.namespace} is already in line {first.key_place.line}"
            found.reader.fail_key(Code.TWICE, message, fix="rename one, or give it another namespace")
    _check_workloads(services)


def check_limits(services: Sequence[Found]) -> None:
    """`MAX_WORKLOADS` replicas and `MAX_SERVICES` services that have ports."""
    callable_services = [found.reader for found in services if found.spec.ports]
    if len(callable_services) > MAX_SERVICES:
        message = f"this is service number {MAX_SERVICES + 1}; one mesh file holds {MAX_SERVICES} that have ports"
        callable_services[MAX_SERVICES].fail_key(Code.TOO_MANY, message, fix="remove services")
    for number, (_, reader) in enumerate(_workloads(services), start=1):
        if number == MAX_WORKLOADS + 1:
            message = f"from here on there are more than {MAX_WORKLOADS} workloads (replicas count one each)"
            reader.fail_key(Code.TOO_MANY, message, fix="lower `replicas` or remove workloads")


def _check_workloads(services: Sequence[Found]) -> None:
    seen: dict[WorkloadKey, Reader] = {}
    for key, reader in _workloads(services):
        first = seen.setdefault(key, reader)
        if first is not reader:
            message = f"the workload {key} comes out of line {first.key_place.line} as well"
            reader.fail_key(Code.TWICE, message, fix="rename one of them")


def _workloads(services: Sequence[Found]) -> Iterator[tuple[WorkloadKey, Reader]]:
    for found in services:
        for workload, reader in zip(found.spec.workloads, found.workloads, strict=True):
            for key in found.spec.replicas(workload):
                yield key, reader
