"""AuthorizationPolicies at gRPC servers without a proxy: grpcio's own xDS server asks them, real clients call."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from core.manager.testing.facts import documents, service
from core.manager.testing.grpc_app import METHOD
from core.model.config import ConfigKey, Document
from istioctl.testing.grpc_site import SPIFFE, Site, mutual_tls

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

DENIED = "PERMISSION_DENIED"


def policy(name: str, spec: str, *, action: str = "ALLOW") -> Document:
    spec_of = {"action": action, **yaml.safe_load(spec)}
    header = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": name}}
    (found,) = documents(yaml.safe_dump({**header, "spec": spec_of}))
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Under STRICT: a server for `reviews`, and two clients with accounts of their own."""
    found = Site(Path(tmp_path_factory.mktemp("site")))
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.tell(service("reviews", "9080/grpc"), mutual_tls("STRICT"))
        for name in ("friend", "stranger"):
            await found.proxyless(name)
        await found.proxyless("v1", serves="reviews")
        for name in ("friend", "stranger"):
            await found.until(name, me(name))
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def site(mesh: Site) -> AsyncIterator[Site]:
    """The same for each test, without any policy."""
    yield mesh
    for document in await mesh.platform.config.list():
        if document.key.kind == "AuthorizationPolicy":
            await gone(mesh, document.key.name)


async def gone(site: Site, name: str) -> None:
    await site.platform.config.delete(ConfigKey("security.istio.io", "AuthorizationPolicy", "default", name))


def me(name: str) -> set[str]:
    return {f"v1 {SPIFFE.format(name)}"}


async def denied(site: Site, name: str, metadata: Mapping[str, str] | None = None) -> None:
    """Until calls are refused by policy. A call that meets the server just when it turns over may be UNAVAILABLE."""
    failures: set[str] = set()
    for _ in range(200):
        failures = {
            each.partition(":")[0] for each in (await site.ask(name, timeout=3.0, metadata=metadata or {})).failures
        }
        if failures == {DENIED}:
            return
    raise AssertionError(failures)


async def test_only_who_is_allowed_by_his_certificate_gets_in(site: Site) -> None:
    """And everybody again, when the policy is gone."""
    await site.tell(policy("a", "{rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/friend]}}]}]}"))
    await denied(site, "stranger")
    await site.until("friend", me("friend"))
    await gone(site, "a")
    await site.until("stranger", me("stranger"))


async def test_one_who_is_denied_is_refused_while_others_call(site: Site) -> None:
    await site.tell(
        policy("d", "rules: [{from: [{source: {serviceAccounts: [default/stranger]}}]}]", action="DENY"),
        policy("all", "{rules: [{}]}"),
    )
    await denied(site, "stranger")
    await site.until("friend", me("friend"))


async def test_methods_and_metadata(site: Site) -> None:
    """A gRPC method is the path of a POST."""
    await site.tell(
        policy(
            "m",
            f"{{rules: [{{to: [{{operation: {{methods: [POST], paths: ['{METHOD}']}}}}], "
            "when: [{key: 'request.headers[x-tier]', values: ['gold*']}]}]}",
        )
    )
    await denied(site, "friend")
    await denied(site, "friend", metadata={"x-tier": "silver"})
    await site.until("friend", me("friend"), metadata={"x-tier": "golden"})


async def test_a_header_sent_twice_or_hidden_from_policies_gets_round_no_denial(site: Site) -> None:
    """gRPC shows repeated headers joined by commas, and of the TLS handshake nothing."""
    await site.tell(policy("h", "rules: [{when: [{key: 'request.headers[x-role]', values: [admin]}]}]", action="DENY"))
    await denied(site, "friend", metadata={"x-role": "user,admin"})
    await site.until("friend", me("friend"), metadata={"x-role": "administrator"})
    await site.tell(
        policy(
            "h",
            "rules: [{from: [{source: {serviceAccounts: [stranger]}}], when: [{key: connection.sni, values: ['*']}]}]",
            action="DENY",
        )
    )
    await denied(site, "stranger")
    await site.until("friend", me("friend"))


EVERYTHING = """
rules:
- from:
  - source: {principals: ["a*", "*b", "*", c], notNamespaces: ["d*"]}
  - source: {ipBlocks: [10.0.0.0/8], notRemoteIpBlocks: ["::1"]}
  - source: {requestPrincipals: ["*"], trustDomains: [e], notServiceAccounts: []}
  - source: {serviceAccounts: [f/g]}
  to:
  - operation: {hosts: ["*.h", "i*", j, "*"], notPorts: ["1"], ports: ["9080"]}
  - operation: {methods: ["*", P*], notPaths: ["/k/{*}/{**}", "*l"]}
  when:
  - {key: destination.ip, notValues: [192.0.2.1]}
  - {key: connection.sni, values: ["*m", "n*", "*"]}
  - {key: "request.headers[x-a]", values: ["*", "*b", "c*", d], notValues: [e]}
  - {key: "request.headers[grpc-timeout]", values: ["*"]}
- from: [{source: {principals: [cluster.local/ns/default/sa/friend]}}]
"""


@pytest.mark.parametrize("action", ["ALLOW", "DENY", "AUDIT"])
async def test_everything_that_a_policy_can_say_is_taken(site: Site, action: str) -> None:
    """gRPC refuses nothing of it, and the last rule is in force; what it cannot ask (`grpc-*`) is on the safe side."""
    await site.tell(policy("everything", EVERYTHING, action=action))
    if action == "ALLOW":
        await denied(site, "stranger")
        await site.until("friend", me("friend"))
    elif action == "DENY":
        await denied(site, "friend")
        await site.until("stranger", me("stranger"))
    assert [each for proxy in site.manager.proxies().status() for each in proxy.refused] == []
