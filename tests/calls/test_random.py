"""Random rules and random calls: whatever they come to, the simulator and a real proxy must say the same.

The tables hold what people write; this holds what nobody thought of. Reproducible: the rules of a seed never change.
"""

from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from core.diagnostics import Severity
from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.caller import send
from istioctl.testing.judge import disagreements
from istioctl.testing.mesh import TestMesh
from istioctl.testing.observed import real, simulated
from istioctl.testing.runner import followed

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SEEDS = range(40)
CALLS = 15
PATHS = ("/", "/a", "/A", "/a/", "/a/b", "/ab", "/b", "/a/b/c", "//a", "/a//b", "/b/a", "/a%20b", "/a.b", "/B/a")
QUERIES = ("", "", "?q=1", "?q=2&q=1", "?p", "?p=&q=1", "?q=a%20b", "?a/b=/a", "?")
VALUES = ("1", "2", "one", "One", "a b", "x,y", "", "z%d")
REGEXES = (".*", "/a.*", "/[ab]", "[0-9]+", "(one|1)", ".*b", ".+", "/.", "(?i)one", r"\w+")
HEADERS = ("x-a", "x-b", "x-c")
TEMPLATES = ("s1", "%REQ(x-a)%", "%%", "s%REQ(:path)%", "%REQ(x-none?x-b)%")
Json = dict[str, Any]


class Rules:
    """Draws a VirtualService."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def text(self, values: tuple[str, ...]) -> Json:
        value = self.one(*values) or "e"
        return dict([self.one(("exact", value), ("prefix", value[:2]), ("regex", self.one(*REGEXES)))])

    def match(self) -> Json:
        match: Json = {"uri": self.text(PATHS)} if self.maybe(0.7) else {}
        if "uri" in match and "regex" not in match["uri"] and self.maybe(0.2):
            match["ignoreUriCase"] = True
        for field, names in (("headers", HEADERS), ("withoutHeaders", HEADERS), ("queryParams", ("q", "p", "a/b"))):
            if self.maybe(0.3):
                match[field] = {self.one(*names): {} if self.maybe(0.2) else self.text(VALUES)}
        for field, value in (("method", "POST"), ("authority", "reviews.shop:9080"), ("scheme", "http")):
            if self.maybe(0.1):
                match[field] = {"exact": value}
        if self.maybe(0.1):
            match["sourceLabels"] = {"tier": "batch"}
        return match or {"uri": {"prefix": "/"}}

    def operations(self) -> Json:
        names = (*HEADERS, "x-n")
        operations: Json = {}
        for field in ("set", "add"):
            if self.maybe(0.5):
                operations[field] = {name: self.one(*TEMPLATES) for name in self.random.sample(names, 2)}
        if self.maybe(0.4):
            operations["remove"] = [self.one(*names)]
        return operations

    def headers(self) -> Json:
        drawn = {side: self.operations() for side in ("request", "response") if self.maybe(0.5)}
        return {"headers": drawn} if drawn and self.maybe(0.6) else {}

    def redirect(self) -> Json:
        fields = {"uri": ("/new", "/new?x=1"), "authority": ("o.com", "o.com:81"), "scheme": ("http", "https")}
        drawn = {field: self.one(*values) for field, values in fields.items() if self.maybe(0.4)}
        return {"redirect": {"port": 8443, **drawn} if self.maybe(0.3) else drawn or {"uri": "/z"}}

    def rewrite(self) -> Json:
        regex = {"match": self.one("a", "b+", "/"), "rewrite": self.one("/c", "/z\\0")}
        path = self.one({"uri": self.one("/", "/n", "/n/", "n")}, {"uriRegexRewrite": regex}, {"authority": "h.com:82"})
        return {"rewrite": path} if self.maybe(0.35) else {}

    def forward(self) -> Json:
        missing = {"host": "nobody.default.svc.cluster.local", "port": {"number": 9080}}
        hosts = ({"host": "reviews"}, {"host": "reviews"}, missing, {"host": "missing"})
        abort = {"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}} if self.maybe(0.1) else {}
        return {"route": [{"destination": self.one(*hosts), **self.headers()}], **self.rewrite(), **abort}

    def route(self) -> Json:
        respond = {"directResponse": {"status": self.one(200, 204, 404, 503), "body": {"string": "b"}}}
        action = self.random.choices([self.redirect(), respond, self.forward()], [1, 1, 6])[0]
        return {"match": [self.match() for _ in range(self.one(1, 2, 3))], **action, **self.headers()}

    def document(self) -> str:
        spec = {"hosts": ["reviews"], "http": [self.route() for _ in range(self.one(1, 2, 3, 4, 5))]}
        metadata = {"name": "reviews", "namespace": "shop"}
        kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
        return yaml.safe_dump({**kind, "metadata": metadata, "spec": spec}, sort_keys=False)

    def call(self) -> Call:
        headers = [(name, self.one(*VALUES)) for name in HEADERS for _ in range(self.one(0, 0, 1, 1, 2))]
        if self.maybe(0.3):
            headers.append((f"x-answer-with-{self.one('x-a', 'x-b', 'x-n')}", "r"))
        return Call(
            source=WorkloadKey("default", self.one("sleep-v1", "sleep-v2")),
            host=self.one("reviews.shop", "reviews.shop.svc"),
            port=9080,
            via=self.one("proxy", "tunnel", "virtual"),
            method=self.one("GET", "POST", "PUT"),
            path=self.one(*PATHS) + self.one(*QUERIES),
            headers=tuple(headers),
        )


@pytest.mark.parametrize("seed", SEEDS)
async def test_simulator_and_proxy_agree_on_random_rules(seed: int, live: TestMesh) -> None:
    await agree(Rules(Random(seed)), live)


@pytest.mark.parametrize("seed", SEEDS[::4])
async def test_they_do_so_in_capture_redirect(seed: int, redirected: TestMesh) -> None:
    await agree(Rules(Random(seed)), redirected)


async def agree(rules: Rules, mesh: TestMesh) -> None:
    text = rules.document()
    await mesh.clear()
    await mesh.apply(text)
    found = [finding for findings in mesh.container.world().diagnostics.values() for finding in findings]
    assert not [str(finding) for finding in found if finding.severity is Severity.ERROR]
    assert not mesh.container.proxies().blames()
    for call in (_as_led(rules.call(), mesh) for _ in range(CALLS)):
        reply = await send(mesh, call)
        assert not disagreements(simulated(followed(mesh, call), call), real([reply])), f"{call}\n{text}"


def _as_led(call: Call, mesh: TestMesh) -> Call:
    return call if mesh.ground.capture == "none" else msgspec.structs.replace(call, via="captured")
