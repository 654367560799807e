"""Formats of access logs: what Envoy would refuse is found before."""

import pytest

from core.envoy.access_log import FORMAT
from core.kinds.log_format import problem


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "TEXT"),
        ("", "JSON"),
        ("100%% %REQ(X-A?:PATH):20% %DURATION%", "TEXT"),
        (FORMAT, "TEXT"),
        ("%START_TIME(%s.%3f)%", "TEXT"),
        ('{"a": {"b": ["%PROTOCOL%", 3, null]}}', "JSON"),
    ],
)
def test_formats_that_envoy_takes(text: str, encoding: str) -> None:
    """Commands with arguments and lengths, escaped signs, nested objects."""
    assert problem(text, encoding) == ("", "")


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("%PROTOCOLL%", "TEXT", "PROTOCOLL"),
        ("50% done", "TEXT", "begins no command"),
        ("{", "JSON", "not JSON"),
        ("[]", "JSON", "no JSON object"),
        ('{"a": ["%NO_SUCH%"]}', "JSON", "NO_SUCH"),
    ],
)
def test_formats_that_envoy_refuses(text: str, encoding: str, told: str) -> None:
    """The finding names what is wrong, and helps."""
    message, fix = problem(text, encoding)
    assert told in message
    assert fix
