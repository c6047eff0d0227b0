"""The command `iot-jobs-simulator`: until SIGTERM or SIGINT. One line of JSON on stdout once ready, nothing else."""

import argparse
import asyncio
import asyncio.sslproto
import gc
import json
import logging
import signal
import sys
from collections.abc import Sequence

from iot_jobs_simulator import arguments as command_line
from iot_jobs_simulator.policy import PolicyName

_TLS_BUFFER_BYTES = 16 * 1024
_ALLOCATIONS_BETWEEN_COLLECTIONS = 50_000
_ADVICE = "pip install 'iot-jobs-agent[simulator]'"
# What the extra `simulator` adds, by the names that are imported. A device does without it.
_OF_THE_EXTRA = frozenset({"aiohttp", "amqtt", "botocore", "trustme"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator. The exit status is 0 after SIGTERM and SIGINT, 1 if it cannot run.

    It cannot if an address or a port cannot be used, or if the extra `simulator` is not installed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["rehearse"]:
        return _rehearse(words[1:])
    options = command_line.parser().parse_args(words)
    if missing := _missing_package():
        print(f"iot-jobs-simulator: needs {missing}, which is not installed here: {_ADVICE}", file=sys.stderr)  # noqa: T201 - a person reads it
        return 1
    _configure_logs(is_verbose=options.verbose)
    # asyncio gives each TLS connection a buffer of 256 KiB, which stays until cycles are collected: too much when
    # thousands of clients come and go.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    collect_seldom()
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"iot-jobs-simulator: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201 - a person reads it
        return 1
    return 0


def _rehearse(words: Sequence[str]) -> int:
    """Run the one command that serves nobody; it checks jobs with the service's models, which are of the extra too."""
    if missing := _missing_package():
        print(f"iot-jobs-simulator: needs {missing}, which is not installed here: {_ADVICE}", file=sys.stderr)  # noqa: T201 - a person reads it
        return 1
    from iot_jobs_simulator.rehearsal import command  # noqa: PLC0415 - needs the packages of the extra

    return command.main(words)


def collect_seldom() -> None:
    """Have Python look for cycles more seldom, and never in what is loaded by now.

    Executions are kept, and in no cycle: looking at 100,000 of them again and again made each cost twice as much.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, 10, 10)


def _configure_logs(*, is_verbose: bool) -> None:
    """Log our own faults to stderr, and with `is_verbose` one line for each request, connection and notification."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(message)s" if is_verbose else "%(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    if is_verbose:
        logging.getLogger("iot_jobs_simulator").setLevel(logging.INFO)
    for chatty in ("amqtt", "aiohttp.server"):  # their errors and warnings are about what clients send
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(is_ours)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a record of asyncio's is about our own tasks: amqtt leaves some of its own behind with a connection."""
    return record.exc_info is None or not type(record.exc_info[1]).__module__.startswith("amqtt.")


def _missing_package() -> str:
    """Return the name of a package of the extra `simulator` that is not installed, "" if the simulator can run."""
    try:
        import iot_jobs_simulator.server  # noqa: F401, PLC0415 - needs the packages of the extra
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_THE_EXTRA:
            raise
        return package
    return ""


async def _serve(options: argparse.Namespace) -> None:
    from iot_jobs_simulator.server import running_simulator  # noqa: PLC0415 - as above

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
        **command_line.switches(options),
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


if __name__ == "__main__":
    sys.exit(main())
