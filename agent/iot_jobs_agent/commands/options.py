"""The options that commands share."""

import argparse
import math
from pathlib import Path

from iot_jobs_agent.commands.table import COMMANDS

DEFAULT_CONFIG = Path("/etc/iot-jobs-agent/config.toml")


def parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command, without options."""
    summary, more, _ = COMMANDS[command]
    description = f"{summary[0].upper()}{summary[1:]}. {more}".replace("`", "").rstrip()
    return argparse.ArgumentParser(prog=f"iot-jobs-agent {command}", description=description, allow_abbrev=False)


def add_config(to: argparse.ArgumentParser) -> None:
    """Add `--config FILE`."""
    to.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")


def add_json(to: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    to.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_timeout(to: argparse.ArgumentParser, what: str) -> None:
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

    directory = load_handlers(config).agent.state_directory
    become_owner(directory)
    return directory


def count(word: str) -> int:
    """Parse a number of things, at least one."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return number


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0 and not endless, not {word}")
    return seconds
