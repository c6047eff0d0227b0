"""The fixtures of `simulators`, for every test below."""

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
