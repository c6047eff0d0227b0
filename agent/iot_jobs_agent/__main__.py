"""The command line: finds the command and hands over to it. Only the command that was asked for is imported.

Exit status: 0 done; 1 it ran, and the answer is no (a job did not succeed, a check failed, the agent gave up); 2 wrong
usage; 69 a service that is needed is not available; 70 an internal error; 73 the state directory, or what is in it,
cannot be used; 78 the configuration cannot be used (sysexits.h).
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from iot_jobs_agent import light
from iot_jobs_agent.commands.table import COMMANDS, module_of
from iot_jobs_agent.commands.terminal import printable
from iot_jobs_agent.errors import AgentError, ConfigError, JournalError, StateDirectoryError, UsageError

# pydantic would load those of any package in the environment, and with them importlib.metadata, into the agent.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

EX_FAILED = 1
EX_USAGE = 2
STATUSES: dict[type[AgentError], int] = {
    UsageError: EX_USAGE,
    ConfigError: os.EX_CONFIG,
    StateDirectoryError: os.EX_CANTCREAT,
    JournalError: os.EX_CANTCREAT,
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
    if words[0] == "run":
        light.leave_out()
    try:
        command = importlib.import_module(module_of(words[0]))
        status: int = command.main(words[1:])
        sys.stdout.flush()
    except AgentError as error:
        print(f"iot-jobs-agent: {printable(str(error))}", file=sys.stderr)
        return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), EX_FAILED)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status


def _usage() -> str:
    import textwrap  # noqa: PLC0415 - only this needs it

    lines = [
        textwrap.fill(f"  {name:<13}{command.summary.replace('`', '')}", 80, subsequent_indent=" " * 15)
        for name, command in COMMANDS.items()
    ]
    return "\n".join(
        ["usage: iot-jobs-agent COMMAND [OPTION ...]", "", *lines, "", "iot-jobs-agent COMMAND --help says more."]
    )


if __name__ == "__main__":
    sys.exit(main())
