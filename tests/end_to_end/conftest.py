"""The fixtures of `simulators`, for every test below."""

import pytest
from simulators import (
    certificates_of_run,
    connect,
    device_connection,
    new_name,
    sim,
    simulator,
    simulator_starter,
    start_simulator,
)

__all__ = [
    "certificates_of_run",
    "connect",
    "device_connection",
    "new_name",
    "sim",
    "simulator",
    "simulator_starter",
    "start_simulator",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulator")
    group.addoption("--packets", type=int, default=400, metavar="N", help="how many mutated packets the simulator gets")
