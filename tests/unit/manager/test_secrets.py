"""What is fit for a gateway: everything that Envoy would refuse is found before, and no key is ever printed."""

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from core.envoy import secrets
from core.manager.gateways import secret as resource
from core.manager.secrets import problem
from core.manager.testing.facts import Plane
from core.model.secret import Sealed, Secret, SecretKey
from core.view.secret import Certificate, InFile, Inline, Roots
from istioctl.testing.certificates import made

NAME = SecretKey("default", "cert")
PAIR, OTHER = made("a.com"), made("b.com")
LOCKED = load_pem_private_key(PAIR.key, None).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
)


def secret(chain: bytes = PAIR.certificate, key: bytes = PAIR.key, roots: bytes = b"") -> Secret:
    return Secret(name=NAME, chain=chain, key=Sealed(key), roots=roots)


@pytest.mark.parametrize(
    "good",
    [secret(), secret(roots=OTHER.certificate), secret(chain=PAIR.certificate + OTHER.certificate)],
    ids=["a pair", "with roots", "with a chain"],
)
def test_what_can_be_used(good: Secret) -> None:
    """Nothing is said of it."""
    assert problem(good) == ""


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (secret(chain=b""), "certificate is not PEM"),
        (secret(chain=b"-----BEGIN CERTIFICATE-----\nnonsense\n"), "certificate is not PEM"),
        (secret(key=b"-----BEGIN PRIVATE KEY-----\nnonsense\n"), "key is not"),
        (secret(key=LOCKED), "without a password"),
        (secret(key=OTHER.key), "does not belong"),
        (secret(chain=OTHER.certificate + PAIR.certificate), "must come first"),
        (secret(roots=b"nonsense"), "roots are not PEM"),
        (Secret(name=NAME, problem="a.key cannot be read"), "a.key cannot be read"),
    ],
)
def test_what_cannot_be_used(bad: Secret, said: str) -> None:
    """What is wrong is said in words that hold nothing of the key."""
    found = problem(bad)
    assert said in found
    assert "nonsense" not in found


def test_keys_do_not_print() -> None:
    """Not as a value, not as a view, not as a resource on its way."""
    line = PAIR.key.splitlines()[1].decode()
    shown = Certificate("kubernetes://cert", Inline(Sealed(PAIR.certificate)), Inline(Sealed(PAIR.key)))
    sent = resource(Plane().world.inputs, shown)
    assert PAIR.key in sent.wire()
    for value in (secret(), shown, sent, Sealed(PAIR.key)):
        assert line not in repr(value)
        assert line not in str(value)


def test_what_a_proxy_is_told() -> None:
    """Bytes for what the Manager holds, a path for what the proxy reads by itself."""
    inline = secrets.encode(Roots("roots", Inline(Sealed(OTHER.certificate))))
    assert OTHER.certificate in inline
    path = secrets.encode(Certificate("files", InFile("/etc/a.crt"), InFile("/etc/a.key")))
    assert b"/etc/a.crt" in path
    assert b"/etc/a.key" in path
