"""Follows the advice of a reason for refusing a document, as an owner of the device or an author of the document would.

Everything that is done is read from the reason: which table and key of the configuration, which text in it, which
member of the document. What a reason cannot say (where a program is, which handler there is) is looked up or chosen.
"""

import copy
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.configs import toml_of

from iot_jobs_agent.built_ins import BUILT_INS

SCRIPT = '#!/bin/sh\nprintf \'<%s>\' "$@"\nif [ "${1-}" = run ]; then cat; fi\n'
ANY_HANDLER = "anything"  # which the owner has for what is mapped
_TEXT = r'("(?:[^"\\]|\\.)*")'


class Owner:
    """A device's files and tables of its configuration, and whoever may change them."""

    def __init__(self, directory: Path, **tables: Any) -> None:
        self.handlers = directory / "handlers"
        self.handlers.mkdir(mode=0o755, exist_ok=True)
        self.file = directory / "config.toml"
        self.tables: dict[str, Any] = {
            "agent": {"state_directory": str(directory / "state")},
            "handlers": {"enabled": [], "directories": [str(self.handlers)], "run_as_users": []},
            **tables,
        }

    def install(self, name: str) -> None:
        """Install a script, unless the handler is there; and enable it."""
        path = self.handlers / name
        if name not in BUILT_INS and not path.exists() and not path.with_name(f"{name}.sh").exists():
            path.write_text(SCRIPT)
            path.chmod(0o755)
        if name not in self.tables["handlers"]["enabled"]:
            self.tables["handlers"]["enabled"].append(name)

    def write(self) -> Path:
        """Write the configuration."""
        self.file.write_text(toml_of(self.tables))
        return self.file

    def append(self, table: str, key: str, value: str) -> None:
        self.tables.setdefault(table, {}).setdefault(key, []).append(value)


def configured(reason: str, document: Any, owner: Owner, *, prefer_mapping: bool = False) -> bool:
    """Change the configuration as a reason advises; return whether it advises anything there."""
    enable = re.search(rf"add {_TEXT} to handlers\.enabled", reason)
    mapping = re.search(rf"map ({_TEXT}|that text) to an enabled handler in \[operations\]", reason)
    entry = re.search(r"by \[\[documents\]\](?: with (has = \"\w+\"))? in the device's configuration", reason)
    listed = re.search(r"[`.]?(\w+)` in \[handler\.([\w-]+)\]; add", reason)
    if mapping and (prefer_mapping or not enable):
        text = _member(document, reason) if mapping[1] == "that text" else _toml(mapping[1])
        owner.install(ANY_HANDLER)
        owner.tables.setdefault("operations", {})[text] = ANY_HANDLER
    elif enable:
        owner.install(_toml(enable[1]))
    elif entry:
        owner.install(ANY_HANDLER)
        keys = tomllib.loads(entry[1] or "") | {"handler": ANY_HANDLER}
        owner.tables.setdefault("documents", []).append(keys)
    elif "add its path to handler.run-command.programs" in reason:
        owner.append("handler.run-command", "programs", _program(reason))
    elif "add that user to handlers.run_as_users" in reason:
        owner.append("handlers", "run_as_users", _member(document, reason))
    elif listed:
        value = {"programs": _program, "units": _first_word, "roots": lambda _: _above(document)}[listed[1]](reason)
        owner.append(f"handler.{listed[2]}", listed[1], value)
    elif "may_reboot is not true in both its manifest and its configuration" in reason:
        owner.tables[f"handler.{document['operation']}"] = {"may_reboot": True}
    else:
        return False
    return True


def corrected(reason: str, document: Any) -> Any:
    """Return the document as a reason advises to write it; the same if its advice takes a person."""
    made = copy.deepcopy(document)
    place = reason.partition(": ")[0]
    if spelt := re.search(r"if (?:it|(\w+)) means `(\w+)`, spell it so", reason):
        table, key = _place(made, spelt[1] or place)
        table[spelt[2]] = table.pop(key)
    elif written := re.search(r'write "version": "1.0"', reason):
        made |= json.loads(f"{{{written[0].removeprefix('write ')}}}")
    elif quoted := re.search(r"args\[(\d+)\] is .*; put it in quotation marks", reason):
        table, key = _place(made, place)
        table[key][int(quoted[1])] = str(table[key][int(quoted[1])])
    elif re.search(r"[;,] (or )?leave (it|`path`) out", reason):
        table, key = _place(made, place.removeprefix("params."))
        if key not in table:  # a param of our own form
            table = table["params"]
        del table[key]
    return made


def _toml(text: str) -> str:
    return str(tomllib.loads(f"text = {text}")["text"])


def _place(document: Any, path: str) -> tuple[Any, Any]:
    """Return the object or array that holds what a path names, and the key or index there."""
    *above, last = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
    for part in above:
        document = document[part]
    return document, last


def _member(document: Any, reason: str) -> str:
    table, key = _place(document, reason.partition(": ")[0])
    return str(table[key])


def _program(reason: str) -> str:
    named = re.search(rf"program {_TEXT}", reason)
    name = json.loads(named[1]) if named else _first_word(reason)
    found = shutil.which(name)
    assert found is not None, f"{name} is no program of this machine"
    return found


_first_word: Callable[[str], str] = lambda reason: reason.split()[0]  # noqa: E731 - stands among functions


def _above(document: Any) -> str:
    return str(Path(document.get("params", document)["path"]).parent)
