"""PeerAuthentication: what is said of whom, and what is left to others."""

import pytest

from core.ir.security import PeerRule
from core.ir.values import INHERIT
from core.kinds.registry import lower
from core.manager.testing.facts import documents
from core.model.labels import Labels
from core.model.mesh import Mesh

HEADER = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\n"


def lowered(spec: str) -> PeerRule:
    (document,) = documents(f"{HEADER}spec: {spec}")
    (rule,) = lower(document, Mesh()).rules
    assert isinstance(rule, PeerRule)
    return rule


def test_everything_that_can_be_said() -> None:
    """Ports are in order, and one that says nothing is there all the same."""
    rule = lowered(
        "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, "
        'portLevelMtls: {"90": {mode: UNSET}, "80": {mode: DISABLE}}}'
    )
    assert (rule.namespace, rule.labels, rule.mode) == ("shop", Labels.of({"app": "a"}), "STRICT")
    assert rule.ports == ((80, "DISABLE"), (90, INHERIT))


def test_what_is_not_said_is_inherited() -> None:
    """No mode, an empty one and UNSET are the same; so are no selector and one that asks for nothing."""
    for spec in ("{}", "{mtls: {}}", "{mtls: {mode: UNSET}}", "{selector: {}}", "{selector: {matchLabels: {}}}"):
        rule = lowered(spec)
        assert (rule.mode, bool(rule.labels), rule.ports) == (INHERIT, False, ())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{mtls: {mode: STRCT}}", ({}, "STRICT", ())),
        ("{mtsl: {mode: STRICT}}", ({}, "STRICT", ())),
        ("{selector: {matchLabels: {app: 'a b'}}, mtls: {mode: PERMISSIVE}}", ({}, "STRICT", ())),
        (
            "{selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}, "
            'portLevelMtls: {"80": {mode: STRCT}, "90": {mode: DISABLE}, x: {mode: STRICT}}}',
            ({"app": "a"}, "PERMISSIVE", ((80, "STRICT"), (90, "DISABLE"))),
        ),
    ],
)
def test_a_mistake_lets_nobody_call_in_plain_bytes(spec: str, expected: tuple[object, ...]) -> None:
    """A store may have taken the document before this was a mistake: what cannot be read of it is STRICT."""
    (document,) = documents(f"{HEADER}spec: {spec}")
    found = lower(document, Mesh())
    assert found.rules == ()
    (rule,) = found.instead
    assert isinstance(rule, PeerRule)
    assert (dict(rule.labels), rule.mode, rule.ports) == expected
