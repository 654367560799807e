"""What people are shown of Envoy's reasons."""

import pytest

from core.manager.refusals import in_short

LIMIT = "Proto constraint validation failed (ClusterValidationError.OutlierDetection: value must be <= 100)"


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("cannot bind '127.0.0.1:80': taken", "cannot bind '127.0.0.1:80': taken"),
        ("first\n  second\n", "first second"),
        (f'goo.gle/debugproto    \nname: "x"\n(y)\n: {LIMIT}', LIMIT),
        (f"Error adding x: {LIMIT}: goo.gle/debugproto name: x (y", f"Error adding x: {LIMIT}"),
        (
            'goo.gle/debugonly    \nname: "x"\n...(truncated)',
            "a field is beyond Envoy's limits; which one is only in the proxy's own log, envoy.log",
        ),
        ("a" * 5000, "a" * 1000 + " ..."),
    ],
)
def test_a_reason_is_one_line_without_the_resource(reason: str, short: str) -> None:
    """Envoy repeats the whole resource first, and cuts off what is wrong with it."""
    assert in_short(reason) == short
