"""`jobctl`: lets a shell script report on its job in one line. Of our code, it imports only what a shim also does.

`reject`, `retry`, `reboot` and `fail` only count if the script then exits with 0: `jobctl fail "no space"; exit 0`.
A script may call it often, so argparse is imported only to show the usage: it is more than half of such a start.
"""

from __future__ import annotations

import os
import sys

from iot_jobs_agent.shim.lean import dumps, loads
from iot_jobs_agent.shim.protocol import LINE_BYTES

TYPE_CHECKING = False  # `typing` is slow to import
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any

REASON_LENGTH = 2048  # twice what the service gets; as JSON it fits into a result file, whatever the characters
OUTCOMES = {"reject": "rejected", "retry": "retry", "reboot": "reboot", "fail": "failed"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program. Return exit code 0, or 1 if it could not report; wrong usage exits with 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = plainly_asked(words) or vars(parser().parse_args(words))
    try:
        if asked["command"] in OUTCOMES:
            leave({"outcome": OUTCOMES[asked["command"]], "reason": asked["reason"][:REASON_LENGTH]})
        else:
            tell(line_of(asked))
    except ValueError as error:
        sys.stderr.write(f"jobctl: {error}\n")
        return 1
    return 0


def plainly_asked(words: Sequence[str]) -> dict[str, Any] | None:
    """Return what `parser` makes of words that are right; None if it must say what is wrong, or show the usage."""
    match words:
        case _ if "--" in words:
            return None
        case ["progress", percent, *message]:
            try:
                return {"command": "progress", "percent": float(percent), "message": message}
            except ValueError:
                return None
        case ["detail", key, value]:
            return {"command": "detail", "key": key, "value": value}
        case ["checkpoint", text]:
            return {"command": "checkpoint", "json": text}
        case [outcome, reason] if outcome in OUTCOMES:
            return {"command": outcome, "reason": reason}
    return None


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line. Commands have no options: a word that begins with a dash is text."""
    import argparse  # noqa: PLC0415 - see the module's docstring

    text: dict[str, Any] = {"prefix_chars": "\0", "add_help": False}
    made = argparse.ArgumentParser(prog="jobctl", description="Tell something about the running job.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    progress = commands.add_parser("progress", help="how far the work is, 0 to 100, and what is being done", **text)
    progress.add_argument("percent", type=float)
    progress.add_argument("message", nargs="*")
    detail = commands.add_parser("detail", help="add to what the service shows about this execution", **text)
    detail.add_argument("key")
    detail.add_argument("value")
    checkpoint = commands.add_parser("checkpoint", help="keep a JSON value for after an interruption", **text)
    checkpoint.add_argument("json")
    for name, outcome in OUTCOMES.items():
        commands.add_parser(name, help=f"with exit 0, the outcome is {outcome}", **text).add_argument("reason")
    return made


def line_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line for fd 3. Raises ValueError if the agent would not accept it."""
    if asked["command"] == "progress":
        if not 0 <= asked["percent"] <= 100:  # noqa: PLR2004 - per cent
            raise ValueError("progress goes from 0 to 100")
        message = " ".join(asked["message"])
        return {"progress": asked["percent"]} | ({"message": message} if message else {})
    if asked["command"] == "detail":
        return {"details": {asked["key"]: asked["value"]}}
    try:
        return {"checkpoint": loads(asked["json"])}
    except (ValueError, RecursionError):
        raise ValueError("the checkpoint is not JSON; strings need their quotes, as in '\"half\"'") from None


def tell(line: dict[str, Any]) -> None:
    """Write a line to fd 3. Raises ValueError if there is no fd 3 or the line is too long."""
    data = dumps(line).encode() + b"\n"
    if len(data) > LINE_BYTES:
        raise ValueError(f"that is more than the {LINE_BYTES} bytes that a line may have")
    try:
        os.write(int(from_environment("JOB_CONTROL_FD")), data)
    except OSError as error:
        raise ValueError(f"fd 3 cannot be written: {error.strerror}") from None


def leave(result: dict[str, Any]) -> None:
    """Write the result file. Raises ValueError if that is impossible."""
    try:
        with open(from_environment("JOB_RESULT_FILE"), "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            file.write(dumps(result))
    except OSError as error:
        raise ValueError(f"the result file cannot be written: {error.strerror}") from None


def from_environment(name: str) -> str:
    """Return an environment variable that every handler has. Raises ValueError outside of one."""
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{name} is not set: this works only inside a handler that the agent runs (protocol 1)")
    return value


if __name__ == "__main__":
    sys.exit(main())
