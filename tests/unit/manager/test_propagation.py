"""Since when documents are in force, and how many instances get no calls as they come, recover and go."""

import msgspec

from core.manager.propagation import Propagation
from core.manager.status import Applied
from core.model.change import ConfigPut, InstanceGone, InstancePut
from core.model.config import ConfigKey, Document
from core.model.service import Health, Instance, InstanceKey, ServiceKey

INSTANCE = Instance(key=InstanceKey(ServiceKey("default", "web"), "v1"), address="10.0.0.1", ports=())


def put(health: Health) -> InstancePut:
    return InstancePut(msgspec.structs.replace(INSTANCE, health=health))


def test_an_instance_counts_as_unwell_until_it_is_healthy_or_gone() -> None:
    """However often it is told, and whatever it was before."""
    propagation, seen = Propagation(), []
    for change in (
        put(Health.UNKNOWN),
        put(Health.UNKNOWN),
        put(Health.HEALTHY),
        put(Health.UNHEALTHY),
        InstanceGone(INSTANCE.key),
    ):
        propagation.take(change)
        seen.append(propagation.unwell)
    assert seen == [1, 1, 0, 1, 0]


def test_what_is_there_before_the_first_proxy_is_in_force_with_the_first_generation() -> None:
    """Generation 0 would be "not in force yet", and there may never be another change to say more."""
    propagation, key = Propagation(), ConfigKey("networking.istio.io", "VirtualService", "default", "web")
    propagation.take(ConfigPut(Document(key=key, revision="7")))
    propagation.settled(0)
    assert propagation.documents() == (Applied(document=key, revision="7", generation=1),)
