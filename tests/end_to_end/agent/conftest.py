"""The fixtures of `agents`, for the tests beside it."""

from agents import device, iot, operator, start_agent, thing

__all__ = ["device", "iot", "operator", "start_agent", "thing"]
