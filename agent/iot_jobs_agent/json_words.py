"""The plain words in which reasons speak of JSON: what kind of value something is, what it should be, where it stands.

Owns what of a document's own text may be shown there: names that are plain words, and never a value. Pure.
"""

import json
import re
from collections.abc import Iterable, Sequence

_KINDS = {int: "a number", float: "a number", str: "a string", list: "an array", type(None): "null"}
_TYPES = {  # in the words of JSON Schema
    "array": "an array",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
NOT_KNOWN = "is not known to the handler; leave it out"
IS_MISSING = "is missing; add it"


def kind_of(value: object) -> str:
    """Return what kind of JSON value this is, with its article."""
    return "a boolean" if isinstance(value, bool) else _KINDS.get(type(value), "an object")


def is_word(key: str) -> bool:
    """Tell whether a member's name is safe to show. Some documents have values where names belong, even secret ones."""
    return re.fullmatch(r"[A-Za-z][A-Za-z_]{0,31}", key) is not None


def wrong_kind(types: Iterable[str], value: object) -> str:
    """Return what a value should be, by JSON Schema's names of types, and what it is; never the value itself."""
    wanted = sorted(types)
    is_cut = isinstance(value, float) and "integer" in wanted
    found = "a number with a fraction" if is_cut else kind_of(value)
    return f"should be {' or '.join(_TYPES.get(each, each) for each in wanted)}, and is {found}"


def field_path(path: Sequence[str | int], known: Iterable[str | int]) -> str:
    """Return the path of a field of the params. A name is shown if it is one of `known`, or if it is a plain word."""
    names = frozenset(known)
    text = "params"
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif is_word(part) or part in names:
            text += f".{part}" if part.isprintable() and part.isascii() else f".{json.dumps(part)}"
        else:
            text += ".*"
    return text
