"""How many instances get no calls is counted as they come, recover and go."""

import msgspec

from core.manager.propagation import Propagation
from core.model.change import InstanceGone, InstancePut
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
