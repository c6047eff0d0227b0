"""The files of a device that a configuration names."""

from pathlib import Path

import pytest

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A device's /etc: three PEM files, and a state directory not yet made."""
    (tmp_path / "certificate.pem").write_text(CERTIFICATE)
    (tmp_path / "root-ca.pem").write_text(CERTIFICATE)
    (tmp_path / "private.key").write_text(PRIVATE_KEY)
    (tmp_path / "private.key").chmod(0o600)
    return tmp_path
