"""What is out of force because a proxy refused it is known, until the document changes."""

import json

from core.manager.pusher import Pusher
from core.manager.quarantine import Quarantine
from core.manager.refusals import Blame
from core.manager.status import Held, Refusal
from core.manager.world import World
from core.manager.xds.resource import ResourceType
from core.model.change import ConfigPut
from core.model.config import ConfigKey, Document, Origin
from core.model.service import WorkloadKey

RULE = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
PROXY = WorkloadKey("default", "client")


def test_a_guilty_document_is_held_until_it_changes() -> None:
    """With the proxy, the resource and Envoy's reason; one of several suspects is nothing that is known."""
    pusher = Pusher(World())
    spec = json.dumps({"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}).encode()
    pusher.apply(ConfigPut(Document(key=RULE, spec=spec)))
    quarantine = Quarantine(pusher)
    several = (RULE, ConfigKey("networking.istio.io", "VirtualService", "default", "other"))
    for suspects in (several, (RULE,)):
        assert quarantine.held() == ()
        blame = Blame(workload=PROXY, type=ResourceType.ROUTES, resource="80", reason="bad", suspects=suspects)
        quarantine.blame(blame)
    refusal = Refusal(type="RDS", resource="80", reason="bad", origin=Origin(RULE))
    assert quarantine.held() == (Held(document=RULE, workload=PROXY, refusal=refusal),)
    quarantine.forgive(RULE)
    assert quarantine.held() == ()
