"""Until when a certificate is valid, read from certificates that a real library has made."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from iot_jobs_agent.certificate import expires_at


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
@pytest.mark.parametrize(
    "until",
    [
        datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2050, 1, 1, tzinfo=UTC),
    ],
)
def test_field_g8_the_end_of_a_certificate_is_read(tmp_path: Path, until: datetime, key_type: trustme.KeyType) -> None:
    issued = trustme.CA(key_type=key_type).issue_cert("lamp.invalid", not_after=until, key_type=key_type)
    file = tmp_path / "certificate.pem"
    file.write_bytes(b"lamp\n" + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    assert expires_at(file) == until.timestamp()


def test_field_g8_what_is_not_a_certificate_has_no_end(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    assert expires_at(file) is None
    whole = trustme.CA().cert_pem.bytes()
    head, body, end = whole.splitlines()[0], b"".join(whole.splitlines()[1:-1]), whole.splitlines()[-1]
    for size in range(0, len(body), 7):
        file.write_bytes(b"\n".join([head, body[:size], end]))
        expires_at(file)
    for text in (b"", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", head + b"\n!\n" + end):
        file.write_bytes(text)
        assert expires_at(file) is None
