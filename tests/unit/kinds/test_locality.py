"""What `localityLbSetting` means, of a load balancer and of the whole mesh."""

from collections.abc import Callable

import pytest

from core.ir.lowered import Lowered
from core.ir.traffic import DestinationPolicy, TrafficPolicy
from core.ir.values import INHERIT, Inherit
from core.kinds.meshconfig import lower_mesh
from core.model.config import Document
from core.model.locality import Alike, Distribute, Failover, LocalityPolicy, Portion
from core.model.mesh import Mesh
from core.model.service import Locality

Setting = Callable[[object], LocalityPolicy | Inherit]

EU, US = Locality("eu"), Locality("us")


@pytest.fixture
def setting(lower_spec: Callable[[str, object], Lowered]) -> Setting:
    def one(spec: object) -> LocalityPolicy | Inherit:
        balancer = {"simple": "RANDOM"} if spec is None else {"localityLbSetting": spec}
        (only,) = lower_spec("dr", {"host": "a", "trafficPolicy": {"loadBalancer": balancer}}).rules
        assert isinstance(only, DestinationPolicy)
        return only.policy.locality

    return one


def test_a_load_balancer_that_says_nothing_leaves_it_to_the_mesh(setting: Setting) -> None:
    assert setting(None) == INHERIT == TrafficPolicy().locality


@pytest.mark.parametrize("spec", [{}, {"enabled": True}])
def test_an_empty_setting_is_failover(setting: Setting, spec: object) -> None:
    """It replaces what the mesh says, even when that is off."""
    assert setting(spec) == Failover()


def test_off_is_off_whatever_else_is_said(setting: Setting) -> None:
    assert setting({"enabled": False, "failover": [{"from": "eu", "to": "us"}]}) == Alike()


def test_failover(setting: Setting) -> None:
    spec = {"failover": [{"from": "eu", "to": "us"}], "failoverPriority": ["tier", "version=v1", "empty="]}
    expected = Failover(regions=(("eu", "us"),), labels=(("tier", None), ("version", "v1"), ("empty", "")))
    assert setting(spec) == expected


def test_distribute(setting: Setting) -> None:
    """A place is a locality whose empty parts stand for anything; * at the end says the same."""
    spec = {"distribute": [{"from": "eu/*", "to": {"eu/a/*": 70, "us": 30}}, {"from": "us", "to": {"*": 100}}]}
    assert setting(spec) == Distribute(
        (Portion(EU, ((Locality("eu", "a"), 70), (US, 30))), Portion(US, ((Locality(), 100),)))
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Failover()),
        ({"localityLbSetting": {"enabled": False}}, Alike()),
        ({"localityLbSetting": {"failover": [{"from": "eu", "to": "us"}]}}, Failover((("eu", "us"),))),
        ({"localityLbSetting": {"distribute": [{"from": "eu", "to": {"us": 100}}]}},
         Distribute((Portion(EU, ((US, 100),)),))),
    ],
)  # fmt: skip
def test_the_mesh_has_one_too(
    make_document: Callable[[str, object], Document], spec: object, expected: LocalityPolicy
) -> None:
    """It is on unless it is turned off, as in Istio."""
    assert lower_mesh(make_document("meshconfig", spec)).mesh == Mesh(locality=expected)
