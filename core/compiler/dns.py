"""DNS in capture `redirect`: under which names applications find the virtual addresses of services.

What no record names is none of our business: the proxy asks the resolvers of its machine.
"""

from core.compiler.captured import own_addresses
from core.compiler.hosts import known_names
from core.compiler.inputs import ANY_PORT, Inputs, Path
from core.compiler.precedence import service_for
from core.view.dns import NameRecord

ALL_HOSTS: Path = (ANY_PORT,)
"""The directory that lists every host of the mesh."""


def name_record(inputs: Inputs, namespace: str, host: str) -> NameRecord | None:
    """The record of one host for callers in `namespace`; None where there is nothing to answer with.

    Services without an address have none: headless ones are found by what their platform's own DNS says.
    """
    service = service_for(inputs, namespace, host)
    if service is None or service.key.host != host:
        return None
    names = tuple(name for name in known_names(inputs, namespace, service) if name != "*")
    addresses = own_addresses(inputs, namespace, service)
    return NameRecord(names, addresses) if names and addresses else None
