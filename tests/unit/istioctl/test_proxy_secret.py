"""`proxy-config secret` shows certificates, and never a key."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Run = Callable[..., Result]

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_TEXT = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
ME = "spiffe://cluster.local/ns/default/sa/me"
NOW = datetime.now(UTC).replace(microsecond=0)


def certificate(*, serial: int, days: int = 1, uri: str = "") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), serial)
    builder = builder.not_valid_before(NOW - timedelta(days=2)).not_valid_after(NOW + timedelta(days=days))
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def inline(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}


def chain(content: bytes, **more: object) -> dict[str, object]:
    return {"tls_certificate": {"certificate_chain": inline(content), "private_key": inline(KEY_TEXT), **more}}


def secret(name: str, body: dict[str, object]) -> dict[str, object]:
    return {"name": name, "secret": {"name": name, **body}}


SECRETS = {
    "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
    "dynamic_active_secrets": [
        secret("default", chain(certificate(serial=0xABC, uri=ME) + certificate(serial=2))),
        secret("ROOTCA", {"validation_context": {"trusted_ca": inline(certificate(serial=3) + certificate(serial=4))}}),
        secret("old", chain(certificate(serial=5, days=-1), password={"inline_string": "sesame"})),
    ],
    "dynamic_warming_secrets": [secret("coming", {"tls_certificate": {}})],
    "static_secrets": [secret("ticket", {"session_ticket_keys": {"keys": [inline(b"hush")]}})],
}


@pytest.fixture
def dump(tmp_path: Path) -> str:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"configs": [SECRETS]}))
    return str(path)


def rows(text: str) -> list[list[str]]:
    return [line.replace("Cert Chain", "CertChain").split() for line in text.splitlines()[1:]]


def test_certificates_are_shown(istioctl: Run, dump: str) -> None:
    """Name, type, state, validity, serial number, times and identity; of a chain the first, of roots all."""
    result = istioctl("proxy-config", "secret", "-f", dump)
    found = {(row[0], row[4]): row for row in rows(result.stdout)}
    tomorrow, before = ((NOW + timedelta(days=each)).strftime("%Y-%m-%dT%H:%M:%SZ") for each in (1, -2))
    assert found["default", "abc"][1:] == ["CertChain", "ACTIVE", "true", "abc", tomorrow, before, ME]
    assert found["old", "5"][3] == "false"
    assert {key for key in found if key[0] == "ROOTCA"} == {("ROOTCA", "3"), ("ROOTCA", "4")}
    assert found["coming", "-"][2:4] == ["WARMING", "-"]
    assert found["ticket", "-"][1:3] == ["-", "STATIC"]
    assert len(found) == 6


def test_one_is_found_by_its_name(istioctl: Run, dump: str) -> None:
    """`--name` narrows it, as for routes; the short name of the part works as well."""
    assert [row[0] for row in rows(istioctl("pc", "s", "-f", dump, "--name", "default").stdout)] == ["default"]


@pytest.mark.parametrize("part", ["secret", "all"])
@pytest.mark.parametrize("output", ["short", "json", "yaml"])
def test_keys_are_never_shown(part: str, output: str, istioctl: Run, dump: str) -> None:
    """Not even from a dump that Envoy did not redact; everything else is there as it was."""
    said = istioctl("proxy-config", part, "-f", dump, "-o", output).stdout
    hidden = (base64.b64encode(KEY_TEXT).decode(), "sesame", base64.b64encode(b"hush").decode())
    assert [each for each in hidden if each[:20] in said] == []
    assert "default" in said


def test_what_is_no_certificate_is_still_a_secret(istioctl: Run, tmp_path: Path) -> None:
    """A row without facts instead of an error."""
    path = tmp_path / "dump.json"
    broken = SECRETS | {"dynamic_active_secrets": [secret("x", chain(b"nonsense"))], "dynamic_warming_secrets": []}
    path.write_text(json.dumps({"configs": [broken]}))
    result = istioctl("proxy-config", "secret", "-f", str(path), "--name", "x")
    assert (result.exit_code, [row[3] for row in rows(result.stdout)]) == (0, ["-"])
