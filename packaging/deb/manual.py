"""Writes the man pages and the completion for bash: from the commands' parsers, and from the configuration's reference.

Owns their form. Their words are those of `--help` and of config.example.toml. See man-pages(7), groff_man(7).
"""

import argparse
import importlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import shtab

from iot_jobs_agent import __main__ as program
from iot_jobs_agent.commands.table import COMMANDS, module_of

NAME = "iot-jobs-agent"
CONFIG = f"{NAME}.toml"
KEY = re.compile(r"^(?:# )?((?:\"[^\"]+\"|\w+) = .+)$")
TABLE = re.compile(r"^(?:# )?(\[\[?[\w.-]+\]?\])$")
FILES = {
    "/etc/iot-jobs-agent/config.toml": f"the configuration, see {CONFIG}(5)",
    "/etc/iot-jobs-agent/credentials/": "the certificate, its private key and the root certificate, for root only",
    "/etc/iot-jobs-agent/handlers/": "handlers of your own",
    "/var/lib/iot-jobs-agent/": "the journal and the attempts",
    "/usr/share/doc/iot-jobs-agent/": "all pages, of which install.md is the first to read",
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command."""
    return {name: importlib.import_module(module_of(name)).parser() for name in COMMANDS}


def completion() -> str:
    """Return the completion for bash."""
    whole = argparse.ArgumentParser(prog=NAME)
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers()
    for name, parser in parsers().items():
        for action in parser._actions:  # noqa: SLF001 - argparse has no other way to them
            if action.metavar in {"FILE", "DIR"}:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        commands.add_parser(name, parents=[parser], add_help=False, help=COMMANDS[name].summary.replace("`", ""))
    return f"{shtab.complete(whole, 'bash').rstrip()}\n"


def page_of_commands(version: str, epoch: int) -> str:
    """Return iot-jobs-agent(1)."""
    lines = [_title(NAME, 1, version, epoch), ".SH NAME", f"{NAME} \\- runs AWS IoT Jobs on this device"]
    lines += [".SH SYNOPSIS", f".B {_escaped(NAME)}", r"\fICOMMAND\fR [\fIOPTION\fR ...]"]
    lines += [
        ".SH DESCRIPTION",
        "The service runs the jobs that AWS IoT Jobs has for this device. These commands set it up and",
    ]
    lines += ["show what it does. Run them as root: each becomes the service's user as soon as it can.", ".SH COMMANDS"]
    for name, parser in parsers().items():
        usage = " ".join(parser.format_usage().split()[1:])
        lines += [f".SS {_escaped(name)}", f".B {_escaped(usage)}", ".PP", _escaped(parser.description or "")]
        for action in parser._actions:  # noqa: SLF001 - as above
            if not isinstance(action, argparse._HelpAction):  # noqa: SLF001 - as above
                lines += [".TP", f".B {_escaped(_invocation(action))}", _escaped(_help(action))]
    lines += [".SH EXIT STATUS", _escaped(_exit_statuses()), ".SH FILES"]
    for path, what in FILES.items():
        lines += [".TP", f".I {_escaped(path)}", _escaped(what)]
    lines += [".SH SEE ALSO", f".BR {CONFIG} (5),", ".BR systemctl (1),", ".BR journalctl (1)"]
    return "\n".join(lines) + "\n"


def page_of_configuration(reference: Path, version: str, epoch: int) -> str:
    """Return iot-jobs-agent.toml(5)."""
    lines = [_title(CONFIG, 5, version, epoch), ".SH NAME", f"{CONFIG} \\- what {NAME} may do, and for which thing"]
    lines += [".SH SYNOPSIS", ".I /etc/iot-jobs-agent/config.toml", ".SH DESCRIPTION"]
    lines += [*_reference(reference.read_text()), ".SH SEE ALSO", f".BR {NAME} (1)"]
    return "\n".join(lines) + "\n"


def _reference(text: str) -> Iterator[str]:
    """Give the reference's lines: a table is a heading, and a key follows what was said above it."""
    above: list[str] = []
    for line in text.splitlines():
        if found := TABLE.match(line):
            heading, rest = f".SH {_escaped(found[1])}", above
            above = []
            yield from (heading, *map(_escaped, rest))
        elif found := KEY.match(line):
            yield from (".TP", f".B {_escaped(found[1])}", *map(_escaped, above))
            above = []
        elif line.startswith("#"):
            above.append(line.removeprefix("#").strip())
        elif above:
            yield from (*map(_escaped, above), ".PP")
            above = []


def _title(name: str, section: int, version: str, epoch: int) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    return f'.TH "{name.upper()}" "{section}" "{date}" "{NAME} {version}"'


def _invocation(action: argparse.Action) -> str:
    takes = action.metavar or ""
    return " ".join(filter(None, [", ".join(action.option_strings), str(takes)]))


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default}


def _exit_statuses() -> str:
    return " ".join((program.__doc__ or "").partition("Exit status: ")[2].split())


def _escaped(text: str) -> str:
    """Return a text that groff prints as it is."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("`", "").replace("'", r"\(aq").replace('"', r"\(dq")
    return f"\\&{safe}" if safe.startswith(".") else safe
