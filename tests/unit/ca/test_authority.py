"""Certificates: what is in them, how long they live, who may have them, and that others believe them."""

import ssl
import subprocess
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import Denied, Misconfigured
from core.manager.ca.authority import SHORTEST, Authority
from core.manager.ca.requests import Unacceptable
from core.manager.ca.root import make_root
from core.manager.ca.testing import Expiring, csr, identity, issued, new_key

ALICE = identity("alice")
NOW = 1_800_000_000.0


def leaf(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain.encode())


def verify(chain: str, roots: str, where: Path) -> subprocess.CompletedProcess[str]:
    """By another implementation of X.509, as strict as it can be."""
    (where / "leaf.pem").write_text(chain)
    (where / "roots.pem").write_text(roots)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "roots.pem", "leaf.pem"]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


def test_openssl_believes_it(tmp_path: Path) -> None:
    """And does not believe one of another root, nor one that is over."""
    authority, expiring = Authority.create(), Expiring()
    chain, _ = issued(ALICE, authority)
    assert verify(chain, authority.roots, tmp_path).stdout == "leaf.pem: OK\n"
    assert verify(chain, Authority.create().roots, tmp_path).returncode != 0
    over, _ = expiring.expired(ALICE)
    assert "certificate has expired" in verify(over, expiring.authority.roots, tmp_path).stderr


def test_what_is_in_it() -> None:
    """An X.509-SVID (SPIFFE): one URI, critical because there is no subject; for both ends of a connection; no CA."""
    authority = Authority.create(clock=lambda: NOW)
    found = leaf(issued(ALICE, authority)[0])
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (names.critical, list(names.value)) == (True, [x509.UniformResourceIdentifier(str(ALICE))])
    assert found.subject == x509.Name([])
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)


def test_the_root_may_sign_and_nothing_else() -> None:
    root = leaf(Authority.create(clock=lambda: NOW).roots)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca) == (True, True)
    assert (usage.value.key_cert_sign, usage.value.digital_signature, usage.value.key_encipherment) == (
        True,
        False,
        False,
    )
    assert root.not_valid_after_utc - root.not_valid_before_utc == timedelta(days=3650, minutes=2)


def test_serial_numbers_are_random_and_valid() -> None:
    """Positive, at most 20 bytes (RFC 5280 §4.1.2.2), whatever the randomness gives."""
    root = make_root("cluster.local", now=NOW)
    for filling in (b"\xff", b"\x00", b"\x80"):
        authority = Authority(root, clock=lambda: NOW, random=lambda size, filling=filling: filling * size)  # type: ignore[misc]
        assert 0 < leaf(issued(ALICE, authority)[0]).serial_number < 1 << 159
    authority = Authority.create()
    assert len({leaf(issued(ALICE, authority)[0]).serial_number for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("asked", "given"), [(None, 3600), (60.0, 60), (SHORTEST, 5), (3600.0, 3600), (7200.0, 3600), (float("inf"), 3600)]
)
def test_life_times(asked: float | None, given: float) -> None:
    """The usual one unless less is asked for; from a minute before, for clocks that are late."""
    authority = Authority.create(longest=3600, clock=lambda: NOW)
    granted = authority.sign(csr(new_key()), identity=ALICE, lifetime=asked)
    assert granted.expires == NOW + given
    found = leaf(granted.chain)
    assert found.not_valid_after_utc == datetime.fromtimestamp(NOW + given, UTC)
    assert found.not_valid_before_utc == datetime.fromtimestamp(NOW - 120, UTC)


@pytest.mark.parametrize("asked", [0.0, -1.0, 4.9, float("nan")])
def test_too_short_a_life_is_refused(asked: float) -> None:
    with pytest.raises(Unacceptable, match="of no use"):
        Authority.create().sign(csr(new_key()), identity=ALICE, lifetime=asked)


def test_an_authority_of_useless_certificates_is_refused() -> None:
    with pytest.raises(Misconfigured, match="of no use"):
        Authority.create(longest=1)


def test_nothing_outlives_the_root() -> None:
    """Whatever is asked for."""
    root = make_root("cluster.local", now=NOW)
    late = root.expires.timestamp() - 100
    authority = Authority(root, clock=lambda: late)
    assert authority.sign(csr(new_key()), identity=ALICE).expires == late + 100


# -- requests ----------------------------------------------------------------------------------------------------------


def test_the_names_in_a_request_are_empty_or_equal() -> None:
    """Any other is refused, also beside the right one, and of another type."""
    authority, own = Authority.create(), x509.UniformResourceIdentifier(str(ALICE))
    for fine in ((), (own,), (own, own)):
        assert authority.sign(csr(new_key(), *fine), identity=ALICE).identity == ALICE
    for name in (
        x509.UniformResourceIdentifier(str(identity("bob"))),
        x509.UniformResourceIdentifier(str(ALICE) + "/x"),
        x509.DNSName("reviews.default"),
        x509.DNSName(str(ALICE)),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.RFC822Name("a@example.org"),
    ):
        for names in ((name,), (own, name)):
            with pytest.raises(Denied, match=r"but whoever sent it is spiffe://cluster.local/ns/default/sa/alice"):
                authority.sign(csr(new_key(), *names), identity=ALICE)


def request_of(key: object, **extensions: x509.ExtensionType) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions.values():
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def test_a_request_cannot_make_itself_an_authority(tmp_path: Path) -> None:
    """Nothing but the key is taken over."""
    asking = request_of(new_key(), constraints=x509.BasicConstraints(ca=True, path_length=None))
    found = leaf(Authority.create().sign(asking, identity=ALICE).chain)
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_rsa_keys_of_2048_bits_will_do() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert Authority.create().sign(request_of(key), identity=ALICE).identity == ALICE


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["P-384", "Ed25519", "RSA-1024"],
)
def test_other_keys_are_refused(key: object) -> None:
    with pytest.raises(Unacceptable, match="neither EC P-256 nor RSA"):
        Authority.create().sign(request_of(key), identity=ALICE)


def point(numbers: ec.EllipticCurvePublicNumbers) -> bytes:
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_a_request_is_signed_by_its_own_key() -> None:
    """With another key in it, its signature does not fit."""
    mine, theirs = csr(new_key()), new_key()
    der = x509.load_pem_x509_csr(mine).public_bytes(Encoding.DER)
    key = x509.load_pem_x509_csr(mine).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    own = key.public_numbers()
    numbers = theirs.public_key().public_numbers()
    assert der.count(point(own)) == 1
    forged = x509.load_der_x509_csr(der.replace(point(own), point(numbers))).public_bytes(Encoding.PEM)
    with pytest.raises(Unacceptable, match="not signed by the key in it"):
        Authority.create().sign(forged, identity=ALICE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        csr(new_key()) * 2,
        csr(new_key()) + b" " * 20_000,
        csr(new_key()).replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"),
        issued(ALICE, Authority.create())[0].encode(),
        b"\xff" * 100,
    ],
    ids=["nothing", "text", "empty", "two", "large", "label", "certificate", "bytes"],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Unacceptable):
        Authority.create().sign(body, identity=ALICE)


DER = x509.load_pem_x509_csr(csr(new_key(), x509.UniformResourceIdentifier(str(ALICE)))).public_bytes(Encoding.DER)
CA = Authority.create()


def in_pem(der: bytes) -> bytes:
    label = b"CERTIFICATE REQUEST-----\n"
    return b"-----BEGIN " + label + encodebytes(der) + b"-----END " + label


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_request_is_refused(changes: list[tuple[int, int]]) -> None:
    """Wherever the damage is, in words and never by a failure of ours."""
    damaged = bytearray(DER)
    for at, change in changes:
        damaged[at] ^= change
    assume(damaged != DER)
    with pytest.raises((Unacceptable, Denied)):
        CA.sign(in_pem(bytes(damaged)), identity=ALICE)


def test_a_request_of_another_version_is_refused() -> None:
    """There is one version (RFC 2986 §4.1)."""
    version = bytes([2, 1, 0])
    with pytest.raises(Unacceptable, match="version"):
        CA.sign(in_pem(DER.replace(version, bytes([2, 1, 9]), 1)), identity=ALICE)


@pytest.mark.parametrize(
    "names", ["3005a303020100", "30", "0500", "3000", "3006860461ff6263"], ids=["x400", "cut", "null", "none", "latin"]
)
def test_names_that_cannot_be_read_are_refused(names: str) -> None:
    """Signed as they should be, and still nonsense; no name at all is as good as none asked for."""
    odd = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, bytes.fromhex(names))
    asking = request_of(new_key(), names=odd)
    if names == "3000":
        assert CA.sign(asking, identity=ALICE).identity == ALICE
        return
    with pytest.raises((Unacceptable, Denied)):
        CA.sign(asking, identity=ALICE)


# -- in use ------------------------------------------------------------------------------------------------------------


def handshake(server: tuple[str, str], client: tuple[str, str], roots: str, where: Path) -> str:
    """The client's name as the server saw it, in memory. Raises `ssl.SSLError`."""
    ends = []
    for side, pair in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(side)
        (where / "pair.pem").write_text("".join(pair))
        context.load_cert_chain(where / "pair.pem")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=roots)
        ends.append(context)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = ends[0].wrap_bio(there, back, server_side=True)
    calling = ends[1].wrap_bio(back, there)
    for _ in range(4):
        for end in (calling, serving):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    names = dict((serving.getpeercert() or {})["subjectAltName"])  # type: ignore[arg-type]
    return str(names["URI"])


def test_both_ends_of_a_connection_can_use_it(tmp_path: Path) -> None:
    """And whoever's is foreign or over is not let in."""
    expiring = Expiring()
    authority = expiring.authority
    server = issued(identity("bob"), authority)
    assert handshake(server, issued(ALICE, authority), authority.roots, tmp_path) == str(ALICE)
    for bad in (issued(ALICE, Authority.create()), expiring.expired(ALICE)):
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(server, bad, authority.roots, tmp_path)
