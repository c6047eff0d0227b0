"""The cases of the conformance kit that change what the handler is given: wrong types, odd values, odd names.

A case runs the handler with a param that is close to a good one. Whatever a handler does with a bad param, it really
does: the kit cannot undo it, but it copies a file or directory before it asks the handler to work on it.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iot_jobs_agent.core.job import ExecutionStatus
from iot_jobs_agent.kit.bench import Bench, in_words

MOST_ENTRIES = 1000  # what is larger than this is not copied, and so not tried
MOST_BYTES = 16 * 1024 * 1024
WORD = "conformance-kit"  # a value that means nothing to any handler
OPTION = "--help"
# Files that are added to a directory under a plain name, and under the odd name that stands opposite.
EXTRAS: Mapping[str, str] = {"extra-1": "-extra 1", "extra-2": " extra-2"}
_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}


async def run_with_wrong_types(bench: Bench) -> str:
    """Check that a document is rejected in which one param has another JSON type.

    A manifest that describes its params may allow other types, or say nothing about a param. No manifest: none may.
    """
    for name, value in bench.params.items():
        for wrong in wrong_values(value):
            if may_be(bench.handler.handler.params, name, wrong):
                continue
            outcome = await bench.run(more={name: wrong})
            if outcome.status is not ExecutionStatus.REJECTED:
                return (
                    f"{name} = {json.dumps(wrong)}: ended {in_words(outcome)}; check the type, and reject the document"
                )
    return ""


def wrong_values(value: Any) -> tuple[Any, ...]:
    """Return values of other types, none of which a lenient reader could take for a value of the right type."""
    match value:
        case bool() | int() | float():
            return (WORD, [])
        case str():
            return ({"text": WORD}, [WORD])
        case list() | dict():
            return (7,)
        case _:
            return ()


def may_be(schema: Mapping[str, Any], name: str, value: Any) -> bool:
    """Return whether a JSON Schema lets the param have a value of this type, or does not say."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return False
    described = properties.get(name)
    if not isinstance(described, dict):
        return True
    choices = [described, *(described.get("anyOf") or []), *(described.get("oneOf") or [])]
    types: set[str] = set()
    for choice in choices:
        named = choice.get("type", []) if isinstance(choice, dict) else []
        types |= {named} if isinstance(named, str) else set(named)
    return not types or _TYPES.get(type(value), "object") in types


async def run_with_options(bench: Bench) -> str:
    """Check that no part of a text is taken for an option of another program.

    Only of texts that the handler checks: if it takes any word, it may take these too.
    """
    for name, value in _texts(bench.params):
        for plain, option in ((WORD, OPTION), (f"{value} {WORD}", f"{value} {OPTION}")):
            if bench.is_as_usual(await bench.run(more={name: plain})):
                continue
            if bench.is_as_usual(outcome := await bench.run(more={name: option})):
                return (
                    f"{name} = {json.dumps(option)}: ended {in_words(outcome)}, although {json.dumps(plain)} does not;"
                    " quote the value, and put -- in front of it"
                )
    return ""


async def run_with_odd_names(bench: Bench) -> str:
    """Check that blanks and leading dashes in the names of files change nothing.

    For each param that names a file or a directory: two copies, one with plain and one with odd names, have to look the
    same afterwards.
    """
    for number, (name, value) in enumerate(_texts(bench.params)):
        place = bench.stage.state.parent / "copies" / str(number)
        plain, odd = place / "plain", place / "-with a  blank"
        if not _copy(Path(value), plain, list(EXTRAS)) or not _copy(Path(value), odd, list(EXTRAS.values())):
            continue
        if not bench.is_as_usual(await bench.run(more={name: str(plain / Path(value).name)})):
            continue  # it takes no other path than the one that was given
        outcome = await bench.run(more={name: str(odd / Path(value).name)})
        advice = "quote the names of files, and do not split or expand them"
        if not bench.is_as_usual(outcome):
            return f"with blanks in {name} it ended {in_words(outcome)}; {advice}"
        if set(_names_in(plain, {})) != set(_names_in(odd, {odd_name: name for name, odd_name in EXTRAS.items()})):
            return f"with blanks and dashes in the names below {name} it left other files than without them; {advice}"
    return ""


def _texts(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in params.items() if isinstance(value, str))


def _copy(path: Path, into: Path, extras: list[str]) -> bool:
    """Copy a file or a directory, with the extra files in a directory; return whether that was possible."""
    try:
        if not path.is_absolute() or not path.name or not _is_small(path):
            return False
        into.mkdir(parents=True)
        if path.is_file():
            shutil.copy2(path, into / path.name)
            return True
        shutil.copytree(path, into / path.name, symlinks=True)
        for age, extra in enumerate(extras):
            (into / path.name / extra).write_text(WORD)
            os.utime(into / path.name / extra, (age, age))
    except (OSError, ValueError, shutil.Error):
        return False
    return True


def _is_small(path: Path) -> bool:
    """Return whether a tree has only files, directories and links, and is small enough to copy. Raises OSError."""
    if not path.is_dir():
        return path.is_file() and path.stat().st_size <= MOST_BYTES
    size_bytes = 0
    for entries, each in enumerate(path.rglob("*"), 1):
        status = each.lstat()
        size_bytes += status.st_size
        is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)
        if entries > MOST_ENTRIES or size_bytes > MOST_BYTES or not is_plain:
            return False
    return True


def _names_in(directory: Path, plain_names: Mapping[str, str]) -> Iterator[str]:
    """Return the relative path of everything below a directory, with odd names replaced by their plain ones."""
    for path in directory.rglob("*"):
        relative = path.relative_to(directory)
        yield str(relative.with_name(plain_names.get(relative.name, relative.name)))
