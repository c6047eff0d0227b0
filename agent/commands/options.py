"""The options that commands share."""

import argparse
from pathlib import Path

DEFAULT_CONFIG = Path("/etc/iot-jobs-agent/config.toml")


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a command, without options."""
    return argparse.ArgumentParser(prog=f"iot-jobs-agent {command}", description=description, allow_abbrev=False)


def add_config(to: argparse.ArgumentParser) -> None:
    """Add `--config FILE`."""
    to.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")


def add_json(to: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    to.add_argument("--json", action="store_true", help="print JSON instead of text")
