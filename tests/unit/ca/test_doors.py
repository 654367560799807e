"""Addresses to listen on, and the names by which the Manager is known there."""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from core.errors import Misconfigured
from core.manager.ca.authority import Authority
from core.manager.ca.doors import address
from core.manager.ca.own import OwnCertificate, names_of
from core.manager.ca.testing import identity
from core.manager.process import serving
from core.manager.settings import Settings
from platforms.memory import MemoryPlatform


@pytest.mark.parametrize(
    ("text", "meant"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:15012", ("::1", 15012)), ("host.example:1", ("host.example", 1))],
)
def test_addresses(text: str, meant: tuple[str, int]) -> None:
    assert address(text) == meant


@pytest.mark.parametrize("text", ["15012", ":15012", "host", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Misconfigured, match="no address to listen on") as refused:
        address(text)
    assert "127.0.0.1:15012" in refused.value.fix


def leaves(error: BaseException) -> Iterator[BaseException]:
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from leaves(inner)
    if not isinstance(error, BaseExceptionGroup):
        yield error


@contextlib.contextmanager
def taken() -> Iterator[str]:
    """The address of a port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


def sockets(where: Path) -> list[Path]:
    return [path for path in where.rglob("*") if path.is_socket()]


@pytest.mark.parametrize("setting", ["ca_listen", "xds_listen", "csr_listen"])
async def test_a_port_that_is_taken_is_named(setting: str, tmp_path: Path) -> None:
    """The Manager does not start beside it, and leaves no socket."""
    with taken() as where:
        settings = Settings(state=tmp_path, **{setting: where})  # type: ignore[arg-type]
        with pytest.raises(ExceptionGroup) as failed:
            async with serving(settings, MemoryPlatform().record):
                pytest.fail("it started")
    (error,) = leaves(failed.value)
    assert isinstance(error, Misconfigured)
    assert f"cannot listen on {where}" in str(error)
    assert sockets(tmp_path) == []


def test_the_own_certificate_has_the_names_of_its_address() -> None:
    """And lasts until half its life is over; then it is another one, with another key."""
    now = [1_800_000_000.0]
    authority = Authority.create(longest=100, clock=lambda: now[0])
    own = OwnCertificate(authority, lambda: identity("istiod"), names=names_of("10.1.2.3"), clock=lambda: now[0])
    first = own.current()
    names = x509.load_pem_x509_certificate(first.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert ip_address("10.1.2.3") in names.value.get_values_for_type(x509.IPAddress)
    assert {"localhost", "istiod.istio-system.svc"} <= set(names.value.get_values_for_type(x509.DNSName))
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(identity("istiod"))]
    now[0] += 49
    assert own.current() is first
    now[0] += 2
    assert own.current().key.value != first.key.value
    assert "0.0.0.0" not in names_of("0.0.0.0")
    assert "PRIVATE" not in repr(first)
