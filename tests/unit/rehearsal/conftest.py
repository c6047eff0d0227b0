import pytest

from iot_jobs_simulator.model import ServiceApi


@pytest.fixture(scope="session")
def api() -> ServiceApi:
    return ServiceApi("iot")
