"""Certificates for gateways under test: made on the spot, signed by themselves, good for a day."""

import datetime
import shutil
from functools import lru_cache
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from core.model.secret import Sealed, Secret, SecretKey
from istioctl.testing.mesh import loaded


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, both in PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Each by rename, as careful people replace files."""
        for path, content in ((certificate, self.certificate), (key, self.key)):
            fresh = path.with_name(f"{path.name}.new")
            fresh.write_bytes(content)
            fresh.rename(path)

    def secret(self, name: SecretKey) -> Secret:
        return Secret(name=name, chain=self.certificate, key=Sealed(self.key), roots=self.certificate)


def made(*hosts: str) -> Pair:
    """A new one for these hosts; the first is its common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + 24 * hour)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), private)


@lru_cache(maxsize=1)
def some() -> Pair:
    """Any one, where it does not matter which."""
    return made("example.com")


def beside(mesh_file: Path, folder: Path) -> Path:
    """A copy of a mesh file in `folder`, with a certificate and a key for each of its secrets."""
    copy = folder / mesh_file.name
    shutil.copy(mesh_file, copy)
    for spec in loaded(mesh_file).secrets:
        pair = made(spec.name)
        pair.write(folder / spec.certificate, folder / spec.key)
        if spec.roots:
            (folder / spec.roots).write_bytes(pair.certificate)
    return copy
