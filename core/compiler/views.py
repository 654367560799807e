"""What all proxies of a mesh see, each by its workload: for calls that are followed from end to end."""

from core.compiler.inputs import Inputs
from core.compiler.view import ProxyView
from core.model.service import WorkloadKey
from core.model.workload import Proxyless
from core.view.upstream import Endpoint


class ProxyViews:
    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def of(self, key: WorkloadKey) -> ProxyView:
        """Raises `NotFound` for unknown workloads."""
        return ProxyView(self._inputs, key)

    def behind(self, endpoint: Endpoint) -> WorkloadKey | None:
        """Whose proxy takes what is sent to an endpoint; None: there is none."""
        for key in self._inputs.instances_by_address.get(endpoint.address):
            instance = self._inputs.instances.get(key)
            workload = instance.workload if instance is not None else None
            found = self._inputs.workloads.get(workload) if workload is not None else None
            if found is not None and not isinstance(found.capture, Proxyless):
                return found.key
        return None
