"""Fixtures of `agents` and `simulators`, for the tests here that run a whole agent."""

from agents import device, iot, operator, start_agent, thing
from simulators import certificates_of_run, sim

__all__ = ["certificates_of_run", "device", "iot", "operator", "sim", "start_agent", "thing"]
