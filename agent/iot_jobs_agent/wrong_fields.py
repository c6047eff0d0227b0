"""Says in plain words which fields of a Python handler's params or manifest are wrong, from pydantic's errors.

Owns those words: what a field should be and what kind of value it is, but no value, and no name that only the document
has. `documents.params` says the same of executables.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from iot_jobs_agent.json_words import IS_MISSING, NOT_KNOWN, field_path, wrong_kind

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST_NAMED = 5
_SUBJECT = re.compile(r"^\w+ should")  # "Input should", "String should"
_TYPES: Mapping[str, str] = {  # pydantic's types of errors, and JSON Schema's word for what was wanted
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "boolean"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "array"),
    **dict.fromkeys(("dict_type", "model_type", "mapping_type", "dataclass_type"), "object"),
    "string_type": "string",
    "none_required": "null",
}
_Words = Callable[[Mapping[str, Any]], str]
_WORDS: Mapping[str, _Words] = {  # by what an error's context has
    "missing": lambda _: IS_MISSING,
    "extra_forbidden": lambda _: NOT_KNOWN,
    "greater_than_equal": lambda its: f"should be at least {its['ge']}",
    "greater_than": lambda its: f"should be more than {its['gt']}",
    "less_than_equal": lambda its: f"should be at most {its['le']}",
    "less_than": lambda its: f"should be less than {its['lt']}",
    "multiple_of": lambda its: f"should be a multiple of {its['multiple_of']}",
    "finite_number": lambda _: "should be a finite number",
    "string_too_short": lambda its: f"should have at least {_counted(its['min_length'], 'character')}",
    "string_too_long": lambda its: f"should have at most {_counted(its['max_length'], 'character')}",
    "too_short": lambda its: f"should have at least {_counted(its['min_length'], 'item')}",
    "too_long": lambda its: f"should have at most {_counted(its['max_length'], 'item')}",
    "string_pattern_mismatch": lambda its: f"should match the pattern {its['pattern']}",
    "literal_error": lambda its: f"should be {its['expected']}",
    "enum": lambda its: f"should be {its['expected']}",
    # pydantic's own messages about tags repeat the value
    "union_tag_invalid": lambda its: f"should have as {its['discriminator']} one of {its['expected_tags']}",
    "union_tag_not_found": lambda its: f"should have the member {its['discriminator']}",
    "value_error": lambda its: str(its["error"]),  # the author's own words
}


def wrong_params(error: ValidationError, schema: Mapping[str, Any]) -> str:
    """Return which fields of the params are wrong, and what they should be. `schema` is their JSON Schema."""
    known = frozenset(_names(schema))
    return "; ".join(f"{field_path(each['loc'], known)}: {_words(each)}" for each in _first(error))


def wrong_manifest(error: ValidationError) -> str:
    """Return which fields of a manifest are wrong and what they should be. None of its names is a secret."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {_words(each)}" for each in _first(error))


def _first(error: ValidationError) -> "list[ErrorDetails]":
    return error.errors(include_url=False)[:_MOST_NAMED]


def _words(wrong: "ErrorDetails") -> str:
    if wanted := _TYPES.get(wrong["type"]):
        return wrong_kind([wanted], wrong["input"])
    if words := _WORDS.get(wrong["type"]):
        return words(wrong.get("ctx", {}))
    return _SUBJECT.sub("should", wrong["msg"].removeprefix("Assertion failed, "))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _names(schema: object) -> Iterator[str]:
    """Yield the names of all properties anywhere in a JSON Schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from _names(item)
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for item in schema.values():
            yield from _names(item)
