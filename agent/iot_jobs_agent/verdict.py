"""Remembers that a configuration was valid, so that the agent can start without pydantic.

pydantic takes 0.1 s and 10 MB. So what it says is kept in the state directory as plain values, together with hashes of
what decides about it: the file's text, the directory of credentials, and the definition of valid. Only if one of these
is new, pydantic is asked again, in a child. What depends on other files is checked at each start (`config.config`).
"""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from iot_jobs_agent.config.config import LARGEST_BYTES, Validated, validate
from iot_jobs_agent.config.encoding import decoded, encoded
from iot_jobs_agent.config.values import STATE_DIRECTORY, Config
from iot_jobs_agent.definition import definition_hash, hash_of
from iot_jobs_agent.state.sealed import read_sealed, write_sealed
from iot_jobs_agent.trust import owner_of

FILE = "verdict.json"


class Verdict:
    """Does what `config.validate` does, by an earlier verdict or else in a child. `keep` remembers a new one."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """`meanwhile` is called while the child works."""
        self._meanwhile = meanwhile
        self._new: Config | None = None
        self._hashes: dict[str, str] = {}

    def validated(self, text: bytes, table: dict[str, Any], environ: Mapping[str, str]) -> Validated:
        """Return what pydantic says about a file. Blocks, and may fork: for a process with a single thread."""
        self._hashes = {
            "file": _hash(text),
            "environment": _hash(os.fsencode(environ.get("CREDENTIALS_DIRECTORY", ""))),
        }
        if (config := self._kept(_state_directory(table))) is not None:
            return Validated(config)
        found = _validated_in_child(table, environ, self._meanwhile) or validate(table, environ)
        if not found.problems and not found.handler_problems:
            self._new = found.config
        return found

    def keep(self) -> None:
        """Write down a verdict that is new. Blocks. Without the file, the next start only has to ask again."""
        if self._new is not None and definition_hash():
            file = self._new.agent.state_directory / FILE
            try:
                write_sealed(file, {"hashes": self._hashes, "config": encoded(self._new)})
            except ValueError:  # it holds something that JSON does not have
                with suppress(OSError):
                    file.unlink(missing_ok=True)  # what the file said before may have been a password

    def _kept(self, directory: Path | None) -> Config | None:
        kept = read_sealed(directory / FILE, os.geteuid()) if directory and definition_hash() else {}
        with suppress(TypeError, LookupError, ValueError, AttributeError):
            if kept.get("hashes") == self._hashes:
                config = decoded(kept["config"])
                return config if config.agent.state_directory == directory else None
        return None


def state_directory_of_valid(path: Path) -> Path | None:
    """Return the state directory that a configuration names, if an agent of this version has found the file valid.

    None says nothing about the file. The directory is what the file itself says, and never what the verdict says,
    because root asks here about what another user wrote. Blocks.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_BYTES)
        directory = _state_directory(tomllib.loads(text.decode()))
    except (OSError, ValueError, RecursionError):
        return None
    owner = owner_of(directory) if directory else None
    if directory is None or owner is None or not definition_hash():
        return None
    hashes = read_sealed(directory / FILE, owner).get("hashes")
    return directory if isinstance(hashes, dict) and hashes.get("file") == _hash(text) else None


def _hash(text: bytes) -> str:
    return hash_of(definition_hash().encode(), text)


def _state_directory(table: Mapping[str, Any]) -> Path | None:
    """Return the state directory that the file names, None if that needs more than a look at one key."""
    agent = table.get("agent", {})
    name = agent.get("state_directory", str(STATE_DIRECTORY)) if isinstance(agent, dict) else ""
    is_plain = isinstance(name, str) and name.startswith("/") and "${" not in name and "\0" not in name
    return Path(name) if is_plain else None


def _validated_in_child(
    table: dict[str, Any], environ: Mapping[str, str], meanwhile: Callable[[], object]
) -> Validated | None:
    """Return what a child says that imports pydantic in our place; None if it cannot, or if JSON cannot carry it."""
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        return None
    if child == 0:
        try:
            os.close(reader)
            found = validate(table, environ)
            config = None if found.config is None else encoded(found.config)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(json.dumps([config, found.problems, found.handler_problems]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            meanwhile()
            answer = pipe.read()
    finally:
        os.waitpid(child, 0)
    with suppress(TypeError, LookupError, ValueError, RecursionError):
        config, problems, handler_problems = json.loads(answer)
        return Validated(None if config is None else decoded(config), tuple(problems), tuple(handler_problems))
    return None
