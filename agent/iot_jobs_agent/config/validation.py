"""Checks one by one the keys of a configuration that has been read, with pydantic, and says in our form what is wrong.

Takes 0.1 s to import, and 10 MB. So `config.config` imports it only where no earlier check of the same file counts, and
nothing that the running agent imports may import it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.config.keys import AgentTable, AwsTable, ConfigFile, DocumentTable, HandlersTable, NamespaceTable
from iot_jobs_agent.config.spelling import advised, nearest, with_question
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.handler import Manifest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SUBJECT = re.compile(r"^\w+ should")  # "Input should", "String should", "Tuple should"
_TABLES: Mapping[str, type[BaseModel]] = {
    "aws": AwsTable,
    "agent": AgentTable,
    "handlers": HandlersTable,
    "namespaces": NamespaceTable,
    "documents": DocumentTable,
}
_NAME_FORMS = {  # in words, what the patterns of config.keys ask for
    "aws.thing_name": "1 to 128 of the characters a-z A-Z 0-9 : _ -",
    "namespaces.id": "1 to 64 of the characters a-z A-Z 0-9 _ -",
    "handlers.profile": "1 to 32 of the characters a-z 0-9 -, and a letter first",
    "handlers.run_as_users": "1 to 32 of the characters a-z 0-9 _ -, and a letter or _ first",
}


def checked_values(table: dict[str, Any], environ: Mapping[str, str]) -> tuple[Config | None, list[str]]:
    """Return the plain values of the file's tables, or None and everything that is wrong with them."""
    try:
        return ConfigFile.model_validate(table, context=dict(environ)).values(), []
    except ValidationError as error:
        return None, [_sentence(detail) for detail in error.errors(include_url=False)]


def problems_of_handlers(config: Config) -> Iterator[str]:
    """Object to what a `[handler.NAME]` has that no manifest may have, and to settings that JSON cannot carry."""
    for name in config.handler:
        yield from _handler_problems(config, name)


def _handler_problems(config: Config, name: str) -> Iterator[str]:
    if "name" in config.handler_settings(name):
        yield f"handler.{name}.name: a handler cannot be renamed; remove this key."
    try:
        Manifest.model_validate({"name": name, **config.manifest_overrides(name)})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield f"handler.{name}.{_sentence(detail)}"
    for key, value in config.handler_settings(name).items():
        if not _is_json(value):
            yield f"handler.{name}.{key}: holds inf or nan, which JSON cannot carry; use an ordinary number."


def _sentence(error: "ErrorDetails") -> str:
    """Return one of pydantic's errors in our form. It never repeats the value, which may be a secret."""
    location = [part for part in error["loc"] if part != "[key]"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    match error["type"]:
        case "missing":
            return f"{key}: is missing; add it (config.example.toml shows it)."
        case "extra_forbidden":
            return _unknown_key(key, location)
        case "tuple_type":
            return f'{key}: is not a list; write it in brackets, like {location[-1]} = ["…"].'
        case "string_type":
            return f'{key}: is not text; write it in quotation marks, like "…".'
        case "value_error":
            return f"{key}: {error['ctx']['error']}."
        case "model_type" | "dict_type":
            return f"{key}: is not a table; write it as [{key}]."
        case "string_pattern_mismatch":
            return _wrong_name(key, location, error)
        case _:
            return f"{key}: is not valid; {_SUBJECT.sub('it should', error['msg'], count=1)}."


def _unknown_key(key: str, location: list[int | str]) -> str:
    table = _TABLES.get(str(location[0]), ConfigFile) if len(location) > 1 else ConfigFile
    otherwise = "remove it (config.example.toml has all keys)"
    return advised(f"{key}: is not a known key", str(location[-1]), table.model_fields, otherwise)


def _wrong_name(key: str, location: list[int | str], error: "ErrorDetails") -> str:
    """Return what is wrong with a name, and never the name itself. A built-in that was probably meant is named."""
    form = _NAME_FORMS.get(".".join(part for part in location if isinstance(part, str)))
    is_handler = location[0] in {"handler", "handlers"} and location[1:2] not in (["run_as_users"], ["profile"])
    close = nearest(str(error["input"]), BUILT_INS) if is_handler else ""
    form = form or ("the characters of a handler's name" if is_handler else str(error["ctx"]["pattern"]))
    return with_question(f"{key}: does not consist of {form}", close, "use such a name")


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)
