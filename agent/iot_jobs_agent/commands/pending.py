"""`iot-jobs-agent pending`: lists what AWS has pending for this thing, over HTTPS with the device's certificate."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

from iot_jobs_agent import logs
from iot_jobs_agent.aws.diagnosis import list_problem
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.messages import Json, MalformedMessageError
from iot_jobs_agent.aws.tls import credentials_problem
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import printable
from iot_jobs_agent.config.config import load
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import ConfigError, RequestRefused, RequestUnanswered

LATEST_S = 1e11
LATEST_MS = 1e14


def main(arguments: Sequence[str]) -> int:
    """Print the pending executions. Return 0, or 69 if the service refused or did not answer.

    Raises:
        ConfigError: the configuration, or one of the certificate's files, cannot be used.
    """
    chosen = parser().parse_args(arguments)
    settings = load(chosen.config)
    if problem := credentials_problem(settings.aws):
        raise ConfigError(f"{problem}.")
    logs.configure("warning", "console")  # the request logs, and stdout is for the answer
    try:
        answer = asyncio.run(_list(settings.aws, chosen.namespace))
    except (RequestRefused, RequestUnanswered, MalformedMessageError) as error:
        print(f"iot-jobs-agent: cannot get the pending job executions: {printable(str(error))}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    print(json.dumps(answer, indent=2) if chosen.json else _text(answer))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("pending")
    options.add_config(made)
    options.add_json(made)
    made.add_argument("--namespace", default="", metavar="NAMESPACE_ID", help="default: the default namespace")
    return made


async def _list(aws: Aws, namespace: str) -> Json:
    try:
        return await list_over_https(aws, namespace)
    except RequestUnanswered as error:
        raise RequestUnanswered(f"{error}. {await list_problem(aws, error)}.") from None


def _text(answer: Json) -> str:
    lines = []
    for key, status in (("inProgressJobs", "IN_PROGRESS"), ("queuedJobs", "QUEUED")):
        for entry in answer.get(key) or []:
            queued = _when(entry.get("queuedAt"))
            lines.append(f"{status:<11}  queued {queued}  {entry.get('jobId')}#{entry.get('executionNumber', 1)}")
    return printable("\n".join(lines)) or "nothing pending"


def _when(at: object) -> str:
    """Format a time in seconds or milliseconds since the epoch, because AWS's documentation shows both."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < LATEST_MS:
        return "at an unknown time"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at / 1000 if at > LATEST_S else at))
