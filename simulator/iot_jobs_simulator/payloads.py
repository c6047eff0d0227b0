"""JSON payloads: read strictly, and written with job documents as the operator wrote them. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from iot_jobs_simulator.refusals import Code, Refused

MAX_NESTING: Final = 500  # objects and arrays in each other; inferred, and below what Python's own parser can take
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """JSON text that goes into a payload as it is: a job document over MQTT, its numbers the operator's."""

    text: str


def json_value(text: str) -> Any:
    """The value of a JSON text, or ValueError. NaN and Infinity are not JSON, nor is what nests beyond reason."""
    if text.count("[") + text.count("{") > MAX_NESTING and _depth(text) > MAX_NESTING:
        raise ValueError(f"nests more than {MAX_NESTING} deep")
    return json.loads(text, parse_constant=_refuse_constant)


def decode_object(payload: bytes) -> dict[str, Any]:
    """The JSON object in a request; an empty payload stands for an empty one.

    Anything else is InvalidJson (developer guide, page jobs-api).
    """
    if not payload:
        return {}
    try:
        value = json_value(payload.decode("utf-8"))
    except ValueError as error:
        raise Refused(Code.INVALID_JSON, f"The payload is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(Code.INVALID_JSON, "The payload is JSON but not an object")
    return value


_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Any) -> str:
    """Compact JSON; `Verbatim` text goes in unchanged, its numbers, key order and duplicate keys included."""
    if isinstance(value, Verbatim):
        return value.text
    try:
        return _compact(value)  # much faster, and all there is to do unless Verbatim is inside
    except TypeError:
        if isinstance(value, Mapping):
            return "{" + ",".join(f"{_compact(key)}:{encode(member)}" for key, member in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ",".join(map(encode, value)) + "]"
        raise


def _depth(text: str) -> int:
    """How deep a text nests that may be JSON, without recursion."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
