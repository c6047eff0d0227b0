"""Asks handlers for their manifests, in processes of their own, and caches the answers.

Owns `describe` and the cache. No handler is ever imported here. If a handler hangs, crashes or prints without end while
it is asked, it becomes unavailable for that reason, and the agent is not affected otherwise.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.catalog.asking import LARGEST_BYTES, ask
from iot_jobs_agent.catalog.sources import manifest_file
from iot_jobs_agent.state.durable import open_regular, replace_at_once
from iot_jobs_agent.state.owner import is_owner
from iot_jobs_agent.trust import trust_problem

EXECUTABLE_TIMEOUT_S = 10.0  # for an executable to describe itself, if nobody says otherwise
_PYTHON_TIMEOUT_S = 30.0  # starting Python and importing modules takes seconds on the smallest boards
_LONGEST_PROBLEM = 300
LARGEST_CACHE_BYTES = 16 << 20  # what is larger is not what we wrote
DESCRIBE_LINE = "# iot-jobs-agent: describe"
_LINE = re.compile(rb"\s*(?:#|//|--|;|%) *iot-jobs-agent: *describe\s*")  # in the comments of most languages
_COMMENT = re.compile(rb"\s*(?:#|//|--|;|%)")


class ManifestQuery(NamedTuple):
    """A handler to ask. `fingerprint` changes whenever the answer may have changed.

    A Python handler has a `spec`, `module:attribute`; an executable has a `path` only.
    """

    name: str
    fingerprint: str
    spec: str = ""
    path: Path | None = None


class DeclaredManifest(NamedTuple):
    """The members of a manifest as declared, not validated yet; or the problem with it.

    A problem with `may_pass` (not started, too slow, killed by a signal) may be gone soon: ask again if it matters.
    """

    members: Mapping[str, Any] = {}
    problem: str = ""
    may_pass: bool = False


class Manifests:
    """The answers so far. The usable ones are also kept in `file`, so that the agent need not ask when it starts.

    The file is read at the first question. So a privileged unit's first process, which only looks for a handler, reads
    nothing that belongs to the agent.
    """

    def __init__(
        self, file: Path, *, worker: Sequence[str], timeout_s: float = EXECUTABLE_TIMEOUT_S, in_unit: bool = False
    ) -> None:
        """`worker` describes Python handlers; an executable gets `timeout_s` seconds to answer.

        With `in_unit`, each is asked in a unit and as a user of its own, as handlers run then.
        """
        self._in_unit = in_unit
        self._file = file
        self._worker = tuple(worker)
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[str, DeclaredManifest]] | None = None  # until the first question

    async def query(self, asked: Sequence[ManifestQuery], *, again: bool = False) -> dict[str, DeclaredManifest]:
        """Return the answers of all of `asked`, by name. Never raises.

        Only handlers with a new fingerprint are really asked, and with `again` those whose problem may have passed, so
        that a handler that hangs delays only the documents that need it.
        """
        known = self._known = _load(self._file) if self._known is None else self._known
        new = [each for each in asked if not _is_known(known, each, again)]
        if not new:
            return {each.name: known[each.name][1] for each in asked}
        ours = {built_in.spec for built_in in BUILT_INS.values()}
        answers = await self._ask_python([each for each in new if each.spec in ours])
        for each in new:
            if each.spec and each.spec not in ours:  # by itself: in one process, it could answer for the others
                answers |= await self._ask_python([each])
        for each in new:
            if not each.spec:
                answers[each.name] = await self._ask_executable(each)
            known[each.name] = (each.fingerprint, answers[each.name])
        _save(self._file, known)
        return {each.name: known[each.name][1] for each in asked}

    async def _ask_executable(self, query: ManifestQuery) -> DeclaredManifest:
        """Return what stands beside it, or its own answer, or an empty one: describing itself is optional."""
        if query.path is None:
            return DeclaredManifest()
        beside = manifest_file(query.name, query.path.parent)
        if (found := _read_beside(beside)) is not None:
            return found
        if not may_be_asked(query.path):
            return DeclaredManifest()
        code, output, problem = await ask([str(query.path), "describe"], self._timeout_s, in_unit=self._in_unit)
        if problem:
            return DeclaredManifest(problem=f"`{query.path} describe` {problem}", may_pass=code < 0)
        declared = _parse(output) if code == 0 else {}
        if isinstance(declared, dict):
            return DeclaredManifest(declared)
        means_it = output.strip() and (_has_line(query.path) or output.lstrip().startswith(b"{"))
        return DeclaredManifest(problem=f"`{query.path} describe` {_json_problem(output)}" if means_it else "")

    async def _ask_python(self, asked: Sequence[ManifestQuery]) -> dict[str, DeclaredManifest]:
        """Ask all in one process; if that fails, each in its own, so that one that crashes does not affect others."""
        if not asked:
            return {}
        specs = [query.spec for query in asked]
        argv = [*self._worker, "--describe", *specs]
        code, output, problem = await ask(argv, _PYTHON_TIMEOUT_S, in_unit=self._in_unit)
        described = _parse(output) if code == 0 else None
        if isinstance(described, dict) and set(specs) <= described.keys():
            return {query.name: _python_answer(described[query.spec]) for query in asked}
        if len(asked) == 1:
            why = f"describing {specs[0]} {problem or _ending(code)}"
            return {asked[0].name: DeclaredManifest(problem=why, may_pass=code < 0)}
        answers: dict[str, DeclaredManifest] = {}
        for query in asked:
            answers |= await self._ask_python([query])
        return answers


def _is_known(known: Mapping[str, tuple[str, DeclaredManifest]], query: ManifestQuery, again: bool) -> bool:
    fingerprint, answer = known.get(query.name, ("", DeclaredManifest()))
    return fingerprint == query.fingerprint and not (again and answer.may_pass)


def may_be_asked(path: Path) -> bool:
    """Tell whether asking is safe: a program that does not know the word would take it for an order, and act."""
    return _has_line(path) or needs_line(path)


def needs_line(path: Path) -> bool:
    """Tell whether a script is asked only because it has the word outside of its comments, and should say so itself."""
    start = _start_of(path)
    code = b"\n".join(line for line in start.splitlines() if not _COMMENT.match(line))
    return start.startswith(b"#!") and b"describe" in code and not _has_line(path)


def _has_line(path: Path) -> bool:
    start = _start_of(path)
    return start.startswith(b"#!") and any(_LINE.fullmatch(line) for line in start.splitlines())


def _start_of(path: Path) -> bytes:
    try:
        with open_regular(path) as file:  # a FIFO would block
            return file.read(LARGEST_BYTES)
    except OSError:
        return b""


def _read_beside(file: Path) -> DeclaredManifest | None:
    if not os.path.lexists(file):
        return None
    if problem := trust_problem(file):
        return DeclaredManifest(problem=problem)
    declared = _parse(_start_of(file))
    if not isinstance(declared, dict):
        return DeclaredManifest(problem=f"{file} is not a JSON object")
    return DeclaredManifest(declared)


def _python_answer(described: object) -> DeclaredManifest:
    if not isinstance(described, dict):
        return DeclaredManifest(problem="its description is not an object")
    if "error" in described:
        words = " ".join(str(described["error"]).split())[:_LONGEST_PROBLEM]
        return DeclaredManifest(problem="".join(letter if letter.isprintable() else "?" for letter in words))
    return DeclaredManifest(described)


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code} and no usable answer"


def _parse(output: bytes) -> object:
    """Parse an answer, or return None. Replace unpaired surrogates, which JSON can spell but no terminal can show."""
    try:
        return json.loads(json.dumps(json.loads(output), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _json_problem(output: bytes) -> str:
    try:
        json.loads(output)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return f"printed an answer that is not JSON at {where}: {error.msg[0].lower()}{error.msg[1:]}"
    except (ValueError, RecursionError):
        return "printed an answer that is not JSON"
    return "printed an answer that is not a JSON object"


def _load(file: Path) -> dict[str, tuple[str, DeclaredManifest]]:
    """Read the usable answers of an earlier run; none if the file does not exist or is not as we wrote it."""
    try:
        with open_regular(file) as opened:
            kept = json.loads(opened.read(LARGEST_CACHE_BYTES))
        return {
            str(name): (str(entry["fingerprint"]), DeclaredManifest(dict(entry["declared"])))
            for name, entry in kept.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _save(file: Path, known: Mapping[str, tuple[str, DeclaredManifest]]) -> None:
    """Write the cache, ignoring errors: without the file, the next start only has to ask again."""
    kept = {
        name: {"fingerprint": fingerprint, "declared": answer.members}
        for name, (fingerprint, answer) in known.items()
        if not answer.problem
    }
    if is_owner(file.parent):  # another user only looks
        with suppress(OSError, ValueError, RecursionError):
            replace_at_once(file, json.dumps(kept, sort_keys=True).encode())
