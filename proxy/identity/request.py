"""Prints a new private key (PKCS #8) and a certificate request for it (PKCS #10), both PEM, in this order. A script.

A process of its own because the library costs an agent 10 MB for something it does once a day. The key exists in its
output only: a pipe to the agent, which writes it with its certificate, at once and whole. Imports nothing of ours.
"""

import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def main() -> None:
    """The request names nobody: who is asking, the Manager knows from elsewhere."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    sys.stdout.buffer.write(key.private_bytes(serialization.Encoding.PEM, *form))
    sys.stdout.buffer.write(request.public_bytes(serialization.Encoding.PEM))


if __name__ == "__main__":
    main()
