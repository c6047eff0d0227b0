"""The one list of commands: the name, arguments and summary of each. `--help` uses it, and the README must match it.

It imports no command, so that looking one up costs nothing.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """One command. `takes` are its positional arguments; `more` is what its own `--help` adds to the summary."""

    summary: str
    more: str = ""
    takes: str = ""


COMMANDS = {
    "setup": Command(
        "ask for endpoint, thing and credentials (or take them as options), check them, and start the agent",
        "What is there already stays: to change it, add --force.",
    ),
    "run": Command(
        "serve this device's jobs until told to stop (`--once`: those that are pending)",
        "SIGTERM ends it within seconds; running handlers go on.",
    ),
    "check": Command("say what is wrong with the configuration, the device's files and its way to AWS"),
    "policy": Command(
        "print the IoT policy that this configuration needs (`--fleet`: for all its things)",
        "It connects to nothing and needs no certificate.",
    ),
    "status": Command(
        "show the connection, the namespaces, what runs and the last problems",
        "Exit status 0 if the agent runs and is connected, else 1.",
    ),
    "jobs": Command(
        "list the last executions with outcome, duration and reason (`jobs JOB_ID`: one job, with its output)",
        "The newest comes first.",
        "[JOB_ID]",
    ),
    "pending": Command(
        "list what AWS holds for this thing, over HTTPS with the device's certificate",
        "AWS tells the first 10 or 15 executions at most.",
    ),
    "pause": Command(
        "take no new executions until `resume` (`--wait`: return once nothing is under way)",
        "A restart of the agent or of the device does not end it. What runs goes on.",
    ),
    "resume": Command("take new executions again"),
    "handlers": Command(
        "list the handlers there are, their source, params and whether they are enabled",
        "Nothing runs unless handlers.enabled names it.",
    ),
    "explain": Command(
        "say what this device would do with a job document, without running anything",
        "Exit status 0 if it would run, 1 if it would be refused.",
        "DOCUMENT",
    ),
    "try": Command(
        "run one handler as the agent would, with no cloud (`--conform`: in hostile ways, too)",
        "Ctrl-C stops it.",
        "NAME PARAMS",
    ),
    "new-handler": Command(
        "write a handler that works, with its tests, in Python or shell, for you to change", takes="NAME [DIR]"
    ),
    "demo": Command("run real jobs against a local AWS IoT Jobs: no account, no configuration"),
}
_MODULES = {"try": "try_handler"}  # a keyword cannot be a module's name


def module_of(name: str) -> str:
    """Return the name of the module that implements a command."""
    return f"iot_jobs_agent.commands.{_MODULES.get(name, name.replace('-', '_'))}"
