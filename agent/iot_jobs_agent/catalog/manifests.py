"""What handlers say of themselves: asks them in processes of their own, and keeps the answers.

Owns `describe` and the cache. No handler is ever imported here, and nothing that a handler does while it is asked
(hang, crash, talk without end) reaches the agent beyond a reason why it is unavailable.
"""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXECUTABLE_TIMEOUT_S = 10.0
_PYTHON_TIMEOUT_S = 30.0  # starting Python and importing takes seconds on the smallest boards
_LARGEST_BYTES = 256 * 1024
_LONGEST_FAULT = 300
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "JOB_PROTOCOL": "1",
}


@dataclass(frozen=True, slots=True)
class Described:
    """Who is to be asked. `fingerprint` changes whenever the answer may.

    A Python handler has a `spec`, `module:attribute`; an executable has a `path` only.
    """

    name: str
    fingerprint: str
    spec: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The members of a manifest as declared, unchecked; or why there is none.

    A fault that `is_passing` (not started, too slow, killed by a signal) says little: ask again, if it matters.
    """

    declared: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    is_passing: bool = False


class Manifests:
    """The answers so far. What was understood is also kept in `file`, so that a start of the agent asks nobody."""

    def __init__(self, file: Path, *, worker: Sequence[str], timeout_s: float = _EXECUTABLE_TIMEOUT_S) -> None:
        """`worker` describes Python handlers; an executable gets `timeout_s` seconds to answer."""
        self._file = file
        self._worker = tuple(worker)
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[str, Answer]] = _load(file)

    async def of(self, asked: Sequence[Described], *, again: bool = False) -> dict[str, Answer]:
        """The answers of all of `asked`, by name. Never raises.

        Only those are asked whose fingerprint is new, and with `again` those whose fault may have passed: one that
        hangs must hold up nobody but who needs it.
        """
        new = [who for who in asked if not self._is_known(who, again)]
        if not new:
            return {who.name: self._known[who.name][1] for who in asked}
        answers = await self._ask_python([who for who in new if who.spec])
        for who in new:
            if not who.spec:
                answers[who.name] = await self._ask_executable(who)
            self._known[who.name] = (who.fingerprint, answers[who.name])
        _save(self._file, self._known)
        return {who.name: self._known[who.name][1] for who in asked}

    def _is_known(self, who: Described, again: bool) -> bool:
        fingerprint, answer = self._known.get(who.name, ("", Answer()))
        return fingerprint == who.fingerprint and not (again and answer.is_passing)

    async def _ask_executable(self, who: Described) -> Answer:
        """Its own answer, or none at all: describing oneself is optional."""
        if who.path is None or not _may_answer(who.path):
            return Answer()
        code, output, fault = await _run([str(who.path), "describe"], self._timeout_s)
        if fault:
            return Answer(fault=f"`{who.path} describe` {fault}", is_passing=code < 0)
        declared = _parsed(output) if code == 0 else None
        return Answer(declared if isinstance(declared, dict) else {})

    async def _ask_python(self, asked: Sequence[Described]) -> dict[str, Answer]:
        """One process for all; if that one fails, one each, so that a handler which crashes it spoils no other."""
        if not asked:
            return {}
        specs = [who.spec for who in asked]
        code, output, fault = await _run([*self._worker, "--describe", *specs], _PYTHON_TIMEOUT_S)
        told = _parsed(output) if code == 0 else None
        if isinstance(told, dict) and set(specs) <= told.keys():
            return {who.name: _python_answer(told[who.spec]) for who in asked}
        if len(asked) == 1:
            told_fault = f"describing {specs[0]} {fault or _ending(code)}"
            return {asked[0].name: Answer(fault=told_fault, is_passing=code < 0)}
        answers: dict[str, Answer] = {}
        for who in asked:
            answers |= await self._ask_python([who])
        return answers


def _may_answer(path: Path) -> bool:
    """Whether asking is safe: a script that does not contain the word would take `describe` for an order, and act."""
    try:
        with path.open("rb") as file:
            start = file.read(_LARGEST_BYTES)
    except OSError:
        return False
    return not start.startswith(b"#!") or b"describe" in start


def _python_answer(told: object) -> Answer:
    if not isinstance(told, dict):
        return Answer(fault="its description is not an object")
    if "error" in told:
        words = " ".join(str(told["error"]).split())[:_LONGEST_FAULT]
        return Answer(fault="".join(letter if letter.isprintable() else "?" for letter in words))
    return Answer(told)


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code} and no usable answer"


def _parsed(output: bytes) -> object:
    """Read an answer, but for half surrogate pairs, which JSON can spell and no terminal can be shown."""
    try:
        return json.loads(json.dumps(json.loads(output), ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


async def _run(argv: Sequence[str], timeout_s: float) -> tuple[int, bytes, str]:
    """Exit code, standard output and "", or what went wrong. What is left of its group in the end is killed.

    The pipe is our own, not asyncio's: waiting for a process would else also wait for whoever still holds its output.
    """
    read_fd, write_fd = os.pipe()
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", 0)
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_fd,
            stderr=asyncio.subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            process_group=0,  # no session of its own: by that the agent knows what it adopted (attempts.orphans)
        )
    except OSError as error:
        pipe.close()
        return -1, b"", f"cannot be started ({(error.strerror or 'unknown reason').lower()})"
    finally:
        os.close(write_fd)
    output = b""
    fault = ""
    try:
        async with asyncio.timeout(timeout_s):
            output = await _read(reader)
            await process.wait()
    except TimeoutError:
        fault = f"did not end within {timeout_s:g} s"
    except ValueError:
        fault = f"said more than {_LARGEST_BYTES} bytes"
    finally:
        pipe.close()
        is_left = _killed(process.pid)
        code = await process.wait()
    if is_left:
        await asyncio.to_thread(_collected, process.pid)
    return code, output, fault


def _killed(group: int) -> bool:
    """Kill every process of the group; False if there is none, or none that we may kill."""
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return False
    return True


def _collected(group: int) -> None:
    """Wait for those of the group that became our children (the agent adopts orphans). Blocks while they die."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


async def _read(reader: asyncio.StreamReader) -> bytes:
    output = b""
    while chunk := await reader.read(65536):
        output += chunk
        if len(output) > _LARGEST_BYTES:
            raise ValueError
    return output


def _load(file: Path) -> dict[str, tuple[str, Answer]]:
    """What an earlier run understood; nothing if the file is not there or not as we left it."""
    try:
        kept = json.loads(file.read_bytes())
        return {str(name): (str(entry["fingerprint"]), Answer(dict(entry["declared"]))) for name, entry in kept.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _save(file: Path, known: Mapping[str, tuple[str, Answer]]) -> None:
    """Best effort: losing the file costs one more question at the next start."""
    kept = {
        name: {"fingerprint": fingerprint, "declared": answer.declared}
        for name, (fingerprint, answer) in known.items()
        if not answer.fault
    }
    draft = file.with_suffix(".new")
    with suppress(OSError, ValueError, RecursionError):
        draft.write_text(json.dumps(kept, sort_keys=True))
        draft.replace(file)
