"""The command line of `iot-jobs-simulator`: its arguments, their help, and which values each of them takes."""

import argparse
import dataclasses
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.policy import PolicyName

LARGEST_PORT = 65535
PORTS = (
    ("mqtt", "MQTT without TLS"),
    ("mqtts", "MQTT with mutual TLS"),
    ("http", "HTTP for boto3 and the AWS CLI, and MQTT over WebSocket, with TLS or without"),
    ("https", "HTTP with mutual TLS, for devices"),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser; a value that cannot be used ends the program with status 2 and a sentence."""
    made = argparse.ArgumentParser(
        prog="iot-jobs-simulator",
        description="AWS IoT Jobs on this machine.",
        allow_abbrev=False,
        epilog="`iot-jobs-simulator rehearse --help` is about rollouts in virtual time.",
    )
    made.add_argument("--version", action="version", version=version("iot-jobs-agent"))
    for name, what in PORTS:
        made.add_argument(
            f"--{name}-port", type=_port, default=0, metavar="N", help=f"{what}; 0 (default): any free port"
        )
    made.add_argument(
        "--certificates",
        type=Path,
        metavar="DIR",
        help="keep ca.pem, client.pem and client.key here (default: temporary)",
    )
    made.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="listen on this address or name (default: %(default)s)"
    )
    made.add_argument(
        "--policy",
        choices=[name.value for name in PolicyName],
        default=PolicyName.OPEN.value,
        help="strict: a certificate is good for the thing in its common name only; each thing gets its own in DIR",
    )
    made.add_argument("--verbose", action="store_true", help="log each request, connection and notification to stderr")
    settings = made.add_argument_group("where AWS leaves a choice")
    for field in dataclasses.fields(ServiceSettings):
        flag, what = f"--{field.name.replace('_', '-')}", f"{field.metadata['help']} (default: %(default)s)"
        if isinstance(field.default, bool):
            settings.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=what)
        else:
            number = _count if isinstance(field.default, int) else _seconds
            settings.add_argument(flag, type=number, default=field.default, metavar="N", help=what)
    return made


def switches(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the settings as the arguments have them."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(ServiceSettings)}


def _port(word: str) -> int:
    if not word.isdecimal() or int(word) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{word} is not a port; give a number from 1 to {LARGEST_PORT}, or 0 for any")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not a number of seconds; give 0 or more")
    return seconds


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a count; give a whole number from 1 on")
    return int(word)
