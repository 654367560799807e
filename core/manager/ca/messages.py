"""The two messages of `istio.v1.auth.IstioCertificateService`, described here because no wheel brings them.

Field numbers are those of Istio's `security/v1alpha1/ca.proto`; its field 4, `metadata`, is not read.
"""

from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from core.manager.ca.requests import Unacceptable

SERVICE: Final = "istio.v1.auth.IstioCertificateService"
METHOD: Final = "CreateCertificate"

_Field = descriptor_pb2.FieldDescriptorProto


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="istio_mesh/ca.proto", package="istio.v1.auth", syntax="proto3")
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    return file


# A pool of their own: another library may bring the same names.
_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_described())
_MESSAGES: Final = {
    name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"istio.v1.auth.IstioCertificate{name}"))
    for name in ("Request", "Response")
}


def read_request(raw: bytes) -> tuple[bytes, float | None]:
    """The CSR (PEM) and the lifetime asked for, in seconds. Raises `Unacceptable`."""
    try:
        message = _MESSAGES["Request"].FromString(raw)
    except DecodeError as error:
        raise Unacceptable(f"this is no IstioCertificateRequest: {error}") from error
    seconds: int = message.validity_duration  # type: ignore[attr-defined]
    csr: str = message.csr  # type: ignore[attr-defined]
    return csr.encode(), float(seconds) if seconds else None


def write_request(csr: bytes, *, lifetime: int = 0) -> bytes:
    """As agents send it; 0: the usual lifetime."""
    message = _MESSAGES["Request"](csr=csr.decode(), validity_duration=lifetime)
    return bytes(message.SerializeToString())


def write_response(chain: tuple[str, ...]) -> bytes:
    """PEM, a certificate each; the leaf first, the root last."""
    return bytes(_MESSAGES["Response"](cert_chain=chain).SerializeToString())


def read_response(raw: bytes) -> tuple[str, ...]:
    return tuple(_MESSAGES["Response"].FromString(raw).cert_chain)  # type: ignore[attr-defined]
