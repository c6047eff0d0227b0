"""Converts the core's phases to JSON text and back, for the journal. Members with default values are left out. Pure.

The code is generic over the core's frozen dataclasses, so that a new member of a phase needs no code here. Reading is
strict: a value that is not of the declared type was not written by this version.
"""

import dataclasses
import functools
import json
import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

from iot_jobs_agent.core.state import (
    Claiming,
    Delayed,
    Phase,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    Stopping,
)

_PHASES: Mapping[str, type[Phase]] = {
    kind.__name__.lower(): kind for kind in (Claiming, Preparing, Running, Delayed, Rebooting, Stopping, Reporting)
}


def encode_phase(phase: Phase) -> tuple[str, str]:
    """Return the phase's name and its JSON text."""
    return type(phase).__name__.lower(), json.dumps(_to_json(phase))


def decode_phase(name: str, text: str) -> Phase:
    """Return the phase that `encode_phase` wrote.

    Raises:
        ValueError: this version does not write such a phase.
    """
    try:
        phase: Phase = _from_json(_PHASES[name], json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"no phase that this version knows: {name!r} ({type(error).__name__})") from None
    return phase


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        members = ((member.name, getattr(value, member.name), member) for member in dataclasses.fields(value))
        return {name: _to_json(held) for name, held, member in members if held != _default(member)}
    if isinstance(value, Mapping):
        return dict(value)
    return [_to_json(each) for each in value] if isinstance(value, tuple) else value


def _from_json(kind: Any, value: Any) -> Any:
    """Convert `value` to the type that `kind` annotates. Raises ValueError, TypeError or KeyError if it is not one."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _from_json(hints[name], each) for name, each in _object(value).items()})
    match get_origin(kind):
        case types.UnionType:
            inner = next(each for each in get_args(kind) if each is not type(None))
            return None if value is None else _from_json(inner, value)
        case origin if origin is tuple:
            return _tuple_from_json(get_args(kind), value)
        case origin if origin is not None:  # every mapping in the core maps text to text
            return {key: _scalar_from_json(str, each) for key, each in _object(value).items()}
        case _:
            return _scalar_from_json(kind, value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _tuple_from_json(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError
    if kinds[-1] is Ellipsis:
        return tuple(_from_json(kinds[0], each) for each in value)
    return tuple(_from_json(kind, each) for kind, each in zip(kinds, value, strict=True))


def _scalar_from_json(kind: type[Any], value: Any) -> Any:
    if issubclass(kind, StrEnum):
        return kind(value)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError
    return value


def _default(member: "dataclasses.Field[Any]") -> Any:
    """Return a member's default; without one, a sentinel that equals no value."""
    if member.default_factory is not dataclasses.MISSING:
        return member.default_factory()
    return member.default


@functools.cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)
