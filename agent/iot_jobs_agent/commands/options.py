"""The options that commands share. argparse is imported where it is needed, since the agent stays for months."""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.commands.table import COMMANDS
from iot_jobs_agent.errors import UsageError

if TYPE_CHECKING:
    import argparse

DEFAULT_CONFIG = Path("/etc/iot-jobs-agent/config.toml")


def parser(command: str) -> "argparse.ArgumentParser":
    """Return the parser of a command, without options."""
    import argparse  # noqa: PLC0415 - see the module's docstring

    summary, more, _ = COMMANDS[command]
    description = f"{summary[0].upper()}{summary[1:]}. {more}".replace("`", "").rstrip()
    return argparse.ArgumentParser(prog=f"iot-jobs-agent {command}", description=description, allow_abbrev=False)


def add_config(to: "argparse.ArgumentParser") -> None:
    """Add `--config FILE`."""
    to.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")


def only_config(arguments: Sequence[str]) -> Path | None:
    """Return the configuration if nothing but that, or nothing at all, is said on the command line; else None."""
    match arguments:
        case []:
            return DEFAULT_CONFIG
        case ["--config", file] if not file.startswith("-"):
            return Path(file)
    return None


def add_json(to: "argparse.ArgumentParser") -> None:
    """Add `--json`."""
    to.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_timeout(to: "argparse.ArgumentParser", what: str) -> None:
    """Add `--timeout SECONDS`."""
    to.add_argument("--timeout", type=_seconds, metavar="SECONDS", help=what)


def owned_state_directory(config: Path) -> Path:
    """Return the state directory that the configuration names, having become its owner if this is root.

    Raises:
        ConfigError: the configuration cannot be used.
        StateDirectoryError: root may not become its owner.
    """
    from iot_jobs_agent.config.config import load_handlers  # noqa: PLC0415 - `--help` needs none of it
    from iot_jobs_agent.state.owner import become_owner  # noqa: PLC0415 - as above
    from iot_jobs_agent.verdict import state_directory_of_valid  # noqa: PLC0415 - as above

    directory = state_directory_of_valid(config) or load_handlers(config).agent.state_directory
    become_owner(directory)
    return directory


def json_argument(word: str, metavar: str, itself: str) -> Any:
    """Return the JSON value that an argument gives: as its text, in a file of that name, or on stdin for "-". Blocks.

    `itself` is what the text may be, such as "the params themselves".

    Raises:
        UsageError: it cannot be read, with where and why.
    """
    shown = shown_argument(word, metavar)
    try:
        if shown is metavar:
            return json.loads(word.encode(errors="surrogateescape"))
        return json.loads(sys.stdin.buffer.read() if word == "-" else Path(word).read_bytes())
    except OSError as error:
        ways = f"give a file, {itself} as a JSON object, or - for stdin"
        raise UsageError(f"{shown} cannot be read: {error.strerror}; {ways}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown} is not JSON: {error}") from None


def shown_argument(word: str, metavar: str) -> str:
    """Return what to call such an argument: the name of the file, or the argument's own name if it is the text."""
    return metavar if word.lstrip().startswith(("{", "[")) and not os.path.lexists(word) else word


def count(word: str) -> int:
    """Parse a number of things, at least one."""
    number = int(word)
    if number < 1:
        import argparse  # noqa: PLC0415 - as above

        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return number


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 < seconds < math.inf:
        import argparse  # noqa: PLC0415 - as above

        raise argparse.ArgumentTypeError(f"must be more than 0 and not endless, not {word}")
    return seconds
