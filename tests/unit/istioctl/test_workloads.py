"""Workloads are found by the names that people type."""

import pytest

from core.errors import NotFound
from core.model.service import WorkloadKey
from istioctl.workloads import short, which

KNOWN = (
    WorkloadKey("default", "reviews-v1"),
    WorkloadKey("default", "a.b"),
    WorkloadKey("shop", "cart-v1"),
    WorkloadKey("shop", "reviews-v1"),
)


@pytest.mark.parametrize(
    ("text", "namespace", "expected"),
    [
        ("reviews-v1", "default", WorkloadKey("default", "reviews-v1")),
        ("reviews-v1", "shop", WorkloadKey("shop", "reviews-v1")),
        ("reviews-v1.shop", "default", WorkloadKey("shop", "reviews-v1")),
        ("a.b", "default", WorkloadKey("default", "a.b")),
        ("a.b.default", "shop", WorkloadKey("default", "a.b")),
    ],
)
def test_a_name_alone_belongs_to_the_namespace(text: str, namespace: str, expected: WorkloadKey) -> None:
    """`name` is looked up where the user is, `name.namespace` anywhere; names may have dots."""
    assert which(text, KNOWN, namespace=namespace) == expected


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("reviws-v1", 'did you mean "reviews-v1"?'),
        ("cart-v1", 'did you mean "cart-v1.shop"?'),
        ("reviews-v1.shopp", 'did you mean "reviews-v1.shop"?'),
        ("xyzzy", "istioctl proxy-status lists those that are connected"),
    ],
)
def test_what_is_not_there_is_answered_with_what_was_meant(text: str, fix: str) -> None:
    """The right name in another namespace first, then the nearest name."""
    with pytest.raises(NotFound, match=f'"{text}"') as raised:
        which(text, KNOWN, namespace="default")
    assert raised.value.fix == fix


def test_names_are_offered_as_one_would_type_them() -> None:
    """The namespace is left out where the user is in it."""
    assert [short(key, "shop") for key in KNOWN] == ["reviews-v1.default", "a.b.default", "cart-v1", "reviews-v1"]
