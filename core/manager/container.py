"""Puts a Manager together. The only place of this process that knows every part."""

from dependency_injector import containers, providers

from core.manager.api.application import ConfigApi
from core.manager.manager import Manager, Parts
from core.manager.proxies import Proxies
from core.manager.pusher import Pusher
from core.manager.quarantine import Quarantine
from core.manager.settings import Settings
from core.manager.world import World
from core.manager.xds.server import Server
from core.ports import Platform


class ManagerContainer(containers.DeclarativeContainer):
    """Constructor injection only. `platform` enters finished: its life time is the process's."""

    settings = providers.Dependency(instance_of=Settings)
    platform = providers.Dependency(instance_of=Platform)

    server = providers.Singleton(Server)
    world = providers.Singleton(World)
    pusher = providers.Singleton(Pusher, world)
    quarantine = providers.Singleton(Quarantine, pusher)
    proxies = providers.Singleton(
        Proxies, server, pusher, state=settings.provided.state, on_blame=quarantine.provided.blame
    )
    parts = providers.Singleton(Parts, world=world, pusher=pusher, proxies=proxies, quarantine=quarantine)
    manager = providers.Singleton(Manager, parts, platform=platform, coalesce=settings.provided.coalesce)
    api = providers.Singleton(
        ConfigApi,
        platform.provided.config,
        mesh=world.provided.mesh,
        proxies=proxies.provided.status,
        findings=manager.provided.diagnostics,
        held=quarantine.provided.held,
    )
