"""Names in capture `redirect`, looked up as programs do it: by the C library, with the files that a pod gives it."""

import asyncio
import sys
import time

import pytest

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.caller import send
from istioctl.testing.mesh import TestMesh
from istioctl.testing.redirected import NAMES

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

KNOWN = "known.test"
LOOK_UP = """
import socket, sys
try:
    print(*sorted({found[4][0] for found in socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)}))
except socket.gaierror as error:
    print(error.args[1])
"""


async def found(mesh: TestMesh, name: str, *, by: str = "sleep-v1") -> str:
    """What a program beside the application of that workload is told."""
    words = (*mesh.ground.within(mesh.workload(by).key), sys.executable, "-I", "-c", LOOK_UP, name)
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    return said.decode().strip()


async def test_services_are_found_by_short_and_by_long_names(redirected: TestMesh) -> None:
    """By what the service's namespace makes of them: `reviews` is another one in `shop`."""
    virtual = {service.key.host: service.addresses[0] for service in redirected.plan.services}
    near, far = virtual["reviews.default.svc.cluster.local"], virtual["reviews.shop.svc.cluster.local"]
    for name in ("reviews", "reviews.default", "reviews.default.svc.cluster.local"):
        assert await found(redirected, name) == near
    assert await found(redirected, "reviews.shop") == far
    assert await found(redirected, "reviews", by="sleep-v1.shop") == far


async def test_what_the_host_can_look_up_a_pod_can(redirected: TestMesh) -> None:
    """By its resolver, and by its files; a gateway's pod as well, where nothing is captured."""
    assert await found(redirected, KNOWN) == NAMES[KNOWN]
    assert await found(redirected, KNOWN, by="ingress") == NAMES[KNOWN]
    assert "127.0.0.1" in await found(redirected, "localhost")


async def test_a_name_of_nobody_is_told_at_once(redirected: TestMesh) -> None:
    """The proxy asks the host's resolver, not itself once more."""
    started = time.monotonic()
    assert await found(redirected, "unknown.test") == "Name or service not known"
    assert time.monotonic() - started < 2


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: known}
spec:
  hosts: [entry.example.com]
  addresses: [240.240.9.9]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints: [{address: known.test}]
"""


async def test_a_declared_host_is_looked_up_by_the_hosts_resolver(redirected: TestMesh) -> None:
    """With `resolution: DNS` the name of the endpoint is one that only this resolver knows."""
    await redirected.apply(ENTRY)
    assert await found(redirected, "entry.example.com") == "240.240.9.9"
    call = Call(source=WorkloadKey("default", "sleep-v1"), host="entry.example.com", via="captured")
    assert (await send(redirected, call)).app == "outside"
    await redirected.clear()
