"""Puts a Manager together. The only place of this process that knows every part."""

import time

from dependency_injector import containers, providers

from core.manager.accepted import Accepted
from core.manager.api.application import ConfigApi, Expected
from core.manager.api.minting import Minting
from core.manager.ca.attest import Credentials, JoinTokens, Members
from core.manager.ca.composition import age, authority, listen, own
from core.manager.ca.doors import Doors
from core.manager.ca.identities import Identities
from core.manager.ca.issuer import Issuer
from core.manager.manager import Manager, Parts
from core.manager.paths import identity_directory
from core.manager.peers import Peers
from core.manager.proxies import Proxies
from core.manager.pusher import Pusher
from core.manager.quarantine import Quarantine
from core.manager.sent import Sent
from core.manager.settings import Settings
from core.manager.verdicts import Verdicts
from core.manager.world import World
from core.manager.xds.server import Server
from core.model.workload import Proxyless
from core.ports import Elector, Platform


def elector(settings: Settings, platform: Platform) -> Elector | None:
    """Who is alone has nobody to agree with."""
    return platform.elector if settings.managers > 1 else None


def expected(world: World) -> Expected:
    """gRPC applications without a proxy connect when they like."""
    workloads = world.inputs.workloads
    return lambda: [key for key, each in workloads.items() if not isinstance(each.capture, Proxyless)]


class ManagerContainer(containers.DeclarativeContainer):
    """Constructor injection only. `platform` enters finished: its life time is the process's."""

    settings = providers.Dependency(instance_of=Settings)
    platform = providers.Dependency(instance_of=Platform)

    server = providers.Singleton(Server, age=providers.Singleton(age, settings))
    world = providers.Singleton(World)
    pusher = providers.Singleton(Pusher, world)
    accepted = providers.Singleton(Accepted, settings, world, platform.provided.config)
    quarantine = providers.Singleton(Quarantine, pusher, trusted=accepted.provided.knew)
    proxies = providers.Singleton(
        Proxies, server, pusher, state=settings.provided.home, on_blame=quarantine.provided.blame
    )

    members = providers.Singleton(
        Members,
        settings=world.provided.mesh,
        workload=world.provided.inputs.workloads.get,
        within=world.provided.inputs.workloads_by_namespace.get,
    )
    authority = providers.Singleton(authority, settings, clock=providers.Object(time.time))
    tokens = providers.Singleton(JoinTokens, providers.Singleton(identity_directory, settings.provided.state), members)
    credentials = providers.Singleton(Credentials, tokens, platform.provided.attestor)
    issuer = providers.Singleton(Issuer, authority, credentials, members)
    identities = providers.Singleton(Identities, issuer, state=settings.provided.home)
    own_certificate = providers.Singleton(own, settings, authority, members.provided.manager)
    doors = providers.Singleton(
        Doors,
        issuer,
        own_certificate,
        members,
        streams=server,
        listen=providers.Singleton(listen, settings),
    )
    minting = providers.Singleton(Minting, tokens, members, authority, doors)

    sent = providers.Singleton(Sent, pusher)

    verdicts = providers.Singleton(Verdicts, settings, quarantine, world, platform.provided.config)
    parts = providers.Singleton(
        Parts,
        world=world,
        pusher=pusher,
        proxies=proxies,
        quarantine=quarantine,
        verdicts=verdicts,
        accepted=accepted,
        identities=identities,
        elector=providers.Factory(elector, settings, platform),
    )
    manager = providers.Singleton(Manager, parts, platform=platform, coalesce=settings.provided.coalesce)
    api = providers.Singleton(
        ConfigApi,
        platform.provided.config,
        mesh=world.provided.mesh,
        proxies=proxies.provided.status,
        held=quarantine.provided.held,
        progress=manager.provided.progress,
        expected=providers.Callable(expected, world),
        everywhere=providers.Singleton(Peers, settings).provided.status,
    )
