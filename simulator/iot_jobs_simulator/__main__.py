"""The command `iot-jobs-simulator`: until SIGTERM or SIGINT. One line of JSON on stdout once ready, nothing else."""

import argparse
import asyncio
import asyncio.sslproto
import dataclasses
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.policy import PolicyName
from iot_jobs_simulator.server import running_simulator

_TLS_BUFFER_BYTES = 16 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator; the exit status is 0 after SIGTERM and SIGINT, 1 if a port is taken."""
    options = _parser().parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if not options.verbose:
        for chatty in ("amqtt", "aiohttp.server"):  # their errors and warnings are about what clients send
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
    # asyncio gives each TLS connection a buffer of 256 KiB, which stays until cycles are collected: too much when
    # thousands of clients come and go.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        print(f"iot-jobs-simulator: cannot serve: {error}", file=sys.stderr)  # noqa: T201 - a person reads it
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running_simulator(
        mqtt_port=options.mqtt_port,
        mqtts_port=options.mqtts_port,
        http_port=options.http_port,
        https_port=options.https_port,
        certificates=options.certificates,
        bind=options.bind,
        **{name: getattr(options, name) for name in _switches()},
        policy=PolicyName(options.policy),
    ) as simulator:
        ready = {
            "mqtt_port": simulator.mqtt_port,
            "mqtts_port": simulator.mqtts_port,
            "http_url": simulator.http_url,
            "https_port": simulator.https_port,
            "certificates": str(simulator.certificates),
        }
        print(json.dumps(ready), flush=True)  # noqa: T201 - the line that callers wait for
        await stopped.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iot-jobs-simulator", description="AWS IoT Jobs on this machine.")
    for name, what in (
        ("mqtt", "MQTT without TLS"),
        ("mqtts", "MQTT with mutual TLS"),
        ("http", "HTTP for boto3 and the AWS CLI"),
        ("https", "HTTP with mutual TLS, for devices"),
    ):
        parser.add_argument(
            f"--{name}-port", type=int, default=0, metavar="N", help=f"{what}; 0 (default): any free port"
        )
    parser.add_argument(
        "--certificates",
        type=Path,
        metavar="DIR",
        help="keep ca.pem, client.pem and client.key here (default: temporary)",
    )
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: loopback only)")
    settings = parser.add_argument_group("where AWS leaves a choice")
    for name, default in _switches().items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            settings.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            settings.add_argument(flag, type=type(default), default=default, metavar="N", help=f"default: {default}")
    parser.add_argument(
        "--policy",
        choices=[name.value for name in PolicyName],
        default=PolicyName.OPEN.value,
        help="strict: a certificate is good for the thing in its common name only; each thing gets its own in DIR",
    )
    parser.add_argument("--verbose", action="store_true", help="log everything to stderr")
    return parser


def _switches() -> dict[str, Any]:
    """Every field of the settings with its default; what they mean stands there."""
    return {field.name: field.default for field in dataclasses.fields(ServiceSettings)}


if __name__ == "__main__":
    sys.exit(main())
