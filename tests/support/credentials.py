"""Credentials for tests: an authority's certificate, a device's pair, and what people make of such files."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.support.configs import NOWHERE

from iot_jobs_agent.config.keys import AwsTable
from iot_jobs_agent.config.values import Aws

NAMES = {"certificate": "certificate.pem", "private_key": "private.key", "root_ca": "root-ca.pem"}


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    private_key: bytes


def new_pair(authority: trustme.CA, name: str = "localhost") -> Pair:
    issued = authority.issue_cert(name)
    return Pair(b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem.bytes())


def write_credentials(directory: Path, pair: Pair, root_ca: bytes, **aws: object) -> Aws:
    """Write the three files; return [aws] with them and with these keys."""
    for key, content in {"certificate": pair.certificate, "private_key": pair.private_key, "root_ca": root_ca}.items():
        (directory / NAMES[key]).write_bytes(content)
    files = {key: str(directory / name) for key, name in NAMES.items()}
    return AwsTable.model_validate({**NOWHERE, **files, **aws}).values()


def encrypted(private_key: bytes, *, older_form: bool) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL if older_form else serialization.PrivateFormat.PKCS8
    secret = serialization.BestAvailableEncryption(b"secret")
    key = serialization.load_pem_private_key(private_key, None)
    return key.private_bytes(serialization.Encoding.PEM, form, secret)


def pair_on_edwards_curve() -> Pair:
    """A self-signed certificate with an Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, None)
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return Pair(certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def without_a_line(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def on_one_line(content: bytes) -> bytes:
    return content.replace(b"\n", b"")


def with_escaped_line_breaks(content: bytes) -> bytes:
    return content.replace(b"\n", rb"\n")
