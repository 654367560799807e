"""What the container needs to know about settings: which of them makes what of the certificate authority."""

import random
from collections.abc import Callable

from core.manager.ca.authority import Authority
from core.manager.ca.doors import Listen, address
from core.manager.ca.own import OwnCertificate, names_of
from core.manager.ca.storage import open_root
from core.manager.paths import identity_directory
from core.manager.settings import Settings
from core.model.identity import SpiffeId
from core.model.mesh import Mesh


def authority(settings: Settings, *, clock: Callable[[], float]) -> Authority:
    """With the root that is kept in the state directory. Raises `Misconfigured`."""
    # A name for people only: the mesh's own settings, with its trust domain, are not known yet.
    root = open_root(identity_directory(settings.state), trust_domain=Mesh().trust_domain, now=clock())
    return Authority(root, longest=settings.certificate_lifetime, clock=clock)


def own(settings: Settings, authority: Authority, identity: Callable[[], SpiffeId]) -> OwnCertificate:
    """Good for every address that is listened on."""
    addresses = filter(None, (settings.ca_listen, settings.xds_listen, settings.csr_listen, settings.api_listen))
    hosts = [name for text in addresses for name in names_of(address(text)[0])]
    return OwnCertificate(authority, identity, names=(*settings.names, *hosts))


def listen(settings: Settings) -> Listen:
    """Connections are replaced before the certificate they were made with is over, and before their streams end."""
    return Listen(
        https=settings.ca_listen,
        xds=settings.xds_listen,
        csr=settings.csr_listen,
        scratch=identity_directory(settings.state),
        age=min(0.8 * settings.stream_age, 0.4 * settings.certificate_lifetime),
        shared=settings.managers > 1,
    )


def age(settings: Settings) -> Callable[[], float]:
    """How long a stream lasts, spread by 10 % so that not all proxies come back at once."""
    return lambda: settings.stream_age * random.uniform(0.9, 1.1)
