"""`iot-jobs-agent check`: finds whatever can be found wrong before the first job, and says how to fix it."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from iot_jobs_agent import logs
from iot_jobs_agent.commands import options
from iot_jobs_agent.config.config import load, problems
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.state.owner import become_owner, refuse_of_others

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # a clock that shows an earlier time than this code's cannot be right


def main(arguments: Sequence[str]) -> int:
    """Print one line per finding. Return 0 if all is well, 78 if the configuration is wrong, 1 if something else is."""
    parser = options.parser("check")
    options.add_config(parser)
    parser.add_argument("--offline", action="store_true", help="do not try to reach AWS")
    chosen = parser.parse_args(arguments)
    logs.configure("warning", "console")  # the request to AWS logs, and stdout is for the findings
    found = problems(chosen.config)
    for problem in found:
        print(f"wrong  {problem}")
    if found:
        print(f"{len(found)} problem{'s' if len(found) > 1 else ''} in {chosen.config}; nothing else was checked")
        return os.EX_CONFIG
    settings = load(chosen.config)
    print(f"ok     configuration {chosen.config}")
    network = [] if chosen.offline else asyncio.run(_network(settings))  # with a key that root alone may read
    become_owner(settings.agent.state_directory)
    findings = [_state_directory(settings.agent.state_directory), _clock(), *asyncio.run(_handlers(settings)), *network]
    for is_ok, line in findings:
        print(f"{'ok    ' if is_ok else 'wrong '} {line}")
    return 0 if all(is_ok for is_ok, _ in findings) else 1


def _state_directory(directory: Path) -> tuple[bool, str]:
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        return False, f"agent.state_directory: {nearest} cannot be written by this user; make it the agent's user's."
    try:
        if nearest == directory:
            refuse_of_others(directory)
    except StateDirectoryError as error:
        return False, f"{error}."
    return True, f"state directory {directory}"


def _clock() -> tuple[bool, str]:
    now = datetime.now(UTC)
    if now >= EARLIEST:
        return True, f"clock {now:%Y-%m-%d %H:%M:%S} UTC"
    return False, f"the clock says {now:%Y-%m-%d}: certificates will not be valid yet; let it synchronise first."


async def _network(settings: Config) -> list[tuple[bool, str]]:
    return [await _mqtt_port(settings), await _https(settings)]


async def _handlers(settings: Config) -> list[tuple[bool, str]]:
    from iot_jobs_agent.catalog.catalog import Catalog  # noqa: PLC0415 - not needed to report a wrong configuration

    catalog = Catalog(settings)
    await catalog.refresh()
    findings = []
    for name, handler in sorted(catalog.enabled().items()):
        if handler.unavailable:
            findings.append((False, f"handlers.enabled: {name} is unavailable: {handler.unavailable}"))
        else:
            findings.append((True, f"handler {name}"))
    findings += _roots(settings)
    return findings or [(False, "handlers.enabled: is empty, every job will be REJECTED; name the handlers to allow.")]


def _roots(settings: Config) -> list[tuple[bool, str]]:
    """Find the `roots` in the settings of enabled handlers that do not exist."""
    return [
        (False, f"handler.{name}.roots: {root} is not there; make it, writable by the agent's user (docs/install.md).")
        for name in settings.handlers.enabled
        for root in settings.handler_settings(name).get("roots", [])
        if not Path(root).is_dir()
    ]


async def _mqtt_port(settings: Config) -> tuple[bool, str]:
    aws = settings.aws
    try:
        async with asyncio.timeout(aws.connect_timeout_s):
            _, writer = await asyncio.open_connection(aws.endpoint, aws.port)
        writer.close()
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer"
        return False, f"aws.endpoint: {aws.endpoint} port {aws.port} cannot be reached ({why}); check network and name."
    return True, f"MQTT endpoint {aws.endpoint} port {aws.port} answers"


async def _https(settings: Config) -> tuple[bool, str]:
    from iot_jobs_agent.aws.https import list_over_https  # noqa: PLC0415 - the SDK is slow, and --offline does without
    from iot_jobs_agent.errors import RequestRefused, RequestUnanswered  # noqa: PLC0415 - as above

    aws = settings.aws
    where = f"https://{aws.https_endpoint}:{aws.https_port}"
    try:
        await list_over_https(aws, "")
    except RequestRefused as error:
        return False, f"{where} refuses the certificate's policy ({error}); allow iotjobsdata:GetPendingJobExecutions."
    except RequestUnanswered as error:
        if any(word in str(error) for word in ("DNS", "CONNECTION_REFUSED", "TIMEOUT", "UNREACHABLE")):
            return False, f"aws.https_endpoint: cannot be reached ({error}); check network, name and aws.https_port."
        return False, f"the certificate did not get through ({error}); check that it is active and not expired."
    return True, f"{where} accepts the certificate and lists jobs of {aws.thing_name}"
