"""Checks the params of an executable against the JSON Schema in its manifest, before any of its work.

Owns the words for what does not fit. They name fields, types and limits of the schema, but no value and no name that
only the document has. The validator costs 25 ms and 11 MB, so it is loaded only when a manifest has a schema.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.json_words import IS_MISSING, NOT_KNOWN, field_path, is_word, wrong_kind

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, ValidationErrorKind, Validator

_LONGEST = 200
_MOST_NAMED = 5  # values or members in one reason


def schema_problem(schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a JSON Schema, "" if nothing is. References lead nowhere outside the schema itself.

    A schema without `$schema` is read as draft 2020-12. Patterns are matched in linear time, so look-around and
    back-references are refused: a document could make them take minutes.
    """
    try:
        _validator(json.dumps(schema))
    except ValueError as error:  # also jsonschema_rs.ValidationError
        path = ".".join(map(str, getattr(error, "instance_path", ())))
        words = f"{path}: {error}".removeprefix(": ").splitlines()[0]
        return "".join(letter if letter.isprintable() else "?" for letter in words)[:_LONGEST]
    return ""


def params_problem(schema: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Return which field of `params` does not fit a schema that has no problem, and what to do; "" if all fit."""
    error = next(iter(_validator(json.dumps(schema)).iter_errors(params)), None)
    return "" if error is None else _in_words(error)


@lru_cache(maxsize=64)
def _validator(schema: str) -> "Validator":
    from jsonschema_rs import RegexOptions, validator_for  # noqa: PLC0415 - see above

    return validator_for(json.loads(schema), offline=True, pattern_options=RegexOptions())


def _in_words(error: "ValidationError") -> str:
    kind = error.kind
    where = field_path(error.instance_path, error.evaluation_path)
    match kind.name:
        case "type":
            return f"{where}: {wrong_kind(kind.value, error.instance)}"
        case "required":
            return f"{_inside(error, str(kind.value))}: {IS_MISSING}"
        case "additionalProperties" | "unevaluatedProperties":
            named = [member for member in kind.value if is_word(member)][:_MOST_NAMED]
            if len(kind.value) == 1 and named:
                return f"{_inside(error, named[0])}: {NOT_KNOWN}"
            return f"{where}: has members that are not known to the handler{_list(named)}; leave them out"
        case "falseSchema":
            return f"{where}: is not allowed; leave it out"
        case _:
            return f"{where}: does not fit {_rule(kind)} of the handler's schema; correct it"


def _rule(kind: "ValidationErrorKind") -> str:
    """Return the keyword, with its value where that is short and cannot be but the schema's own."""
    value = kind.value
    is_plain = isinstance(value, bool | int | float | str) or (kind.name == "enum" and len(value) <= _MOST_NAMED)
    text = json.dumps(value) if is_plain else ""
    return f'"{kind.name}": {text}' if text and len(text) <= _LONGEST else f'"{kind.name}"'


def _inside(error: "ValidationError", member: str) -> str:
    return field_path([*error.instance_path, member], [*error.evaluation_path, member])


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""
