"""The command line: finds the command and hands over. Only the command asked for is imported.

Exit status: 0 done; 1 it ran, and the answer is no (a job did not succeed, a check failed, the agent gave up); 2 wrong
usage; 69 a service that is needed is not there; 70 an internal error; 73 the state directory cannot be used;
78 the configuration cannot be used (sysexits.h).
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from iot_jobs_agent.commands.terminal import printable
from iot_jobs_agent.errors import AgentError, ConfigError, StateDirectoryError

MODULES = {"try": "try_handler", "new-handler": "new_handler"}  # of commands whose names cannot be modules' names

EX_FAILED = 1
EX_USAGE = 2
STATUSES: dict[type[AgentError], int] = {ConfigError: os.EX_CONFIG, StateDirectoryError: os.EX_CANTCREAT}

COMMANDS = {
    "run": "serve this device's jobs until told to stop (--once: those that are pending)",
    "check": "say what is wrong with the configuration, the device's files and its way to AWS",
    "status": "show the connection, the namespaces, what runs, and the last problems",
    "jobs": "list the last executions with outcome, duration and reason",
    "pending": "list what AWS holds for this thing, over HTTPS with the device's certificate",
    "pause": "take no new executions, until `resume` (--wait: return once nothing is under way)",
    "resume": "take new executions again",
    "handlers": "list the handlers there are, where from, enabled or not, their params, and why one is unavailable",
    "try": "run one handler as the agent would, with no cloud, and show what it says and how it ends",
    "new-handler": "write a handler that works, with its tests, in Python or shell, to be changed",
    "demo": "run real jobs against a local AWS IoT Jobs: no account, no configuration",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Entry point of the script `iot-jobs-agent`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(_usage())
        return 0 if words else EX_USAGE
    if words[0] == "--version":
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, and only this needs it

        print(version("iot-jobs-agent"))
        return 0
    if words[0] not in COMMANDS:
        print(f"iot-jobs-agent: there is no command {words[0]!r}\n\n{_usage()}", file=sys.stderr)
        return EX_USAGE
    try:
        command = importlib.import_module(f"iot_jobs_agent.commands.{MODULES.get(words[0], words[0])}")
        status: int = command.main(words[1:])
        sys.stdout.flush()
    except AgentError as error:
        print(f"iot-jobs-agent: {printable(str(error))}", file=sys.stderr)
        return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), EX_FAILED)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def _usage() -> str:
    lines = [f"  {name:<13}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: iot-jobs-agent COMMAND [OPTION ...]", "", *lines, "", "iot-jobs-agent COMMAND --help says more."]
    )


if __name__ == "__main__":
    sys.exit(main())
