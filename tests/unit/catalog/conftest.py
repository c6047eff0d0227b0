"""What the tests of the catalog share."""

from pathlib import Path

import pytest
from tests.support.catalog import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
