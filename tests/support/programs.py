"""The commands that pages show, and what our programs say about them with `--help`."""

import contextlib
import functools
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.files import ROOT

from iot_jobs_agent import __main__ as agent
from iot_jobs_agent import jobctl
from iot_jobs_agent.commands.table import COMMANDS
from iot_jobs_simulator import __main__ as simulator

_MAINS = {"iot-jobs-agent": agent.main, "jobctl": jobctl.main, "iot-jobs-simulator": simulator.main}
_MODULES = ("benchmarks", "tests.faults")
_CODE = re.compile(r"^```[^\n]*$(.*?)^```$|`([^`\n]+)`|^ {4}(\S[^\n]*)$", re.MULTILINE | re.DOTALL)
_APART = re.compile(r"\n|&&|\|\|?|;|\$?\(|\)|(?:^|\s)#.*")
_IN_FRONT = re.compile(r"(?:[A-Z_]+=\S*\s+|(?:uv run|sudo|exec|then|else|do|if)\s+)*")
_OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


class Shown(NamedTuple):
    """One command as a page shows it: its program, the program's own command ("" if there is none), its options."""

    program: str
    command: str
    options: frozenset[str]


def commands_on(text: str) -> Iterator[Shown]:
    """Give every command for one of our programs in a page's code."""
    for found in _CODE.findall(text):
        code = "".join(found).replace("\\\n", " ").replace(r"\|", "|")
        for line in _APART.split(code):
            if shown := _shown(line.strip()):
                yield shown


def bare_options_on(text: str) -> set[str]:
    """Return the options that a page names without a program."""
    return {
        found for _, inline, _ in _CODE.findall(text) if inline.startswith("--") for found in _OPTION.findall(inline)
    }


def known_commands(program: str) -> set[str]:
    """Return the names of a program's commands, with "" if it does something without one."""
    if program == "iot-jobs-agent":
        return {*COMMANDS, ""}
    if program == "iot-jobs-simulator":
        return {"rehearse", ""}
    listed = re.search(r"^  COMMAND$(.*)^options:", help_of(program), re.MULTILINE | re.DOTALL)
    return {*re.findall(r"^    (\S+)", listed[1], re.MULTILINE), ""} if listed else {""}


@functools.cache
def help_of(program: str, command: str = "") -> str:
    """Return what `--help` prints; what jobctl prints is about all of its commands."""
    arguments = [command, "--help"] if command and program != "jobctl" else ["--help"]
    if program not in _MAINS:
        run = [sys.executable, "-m", program, *arguments]
        return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        _MAINS[program](arguments)
    return printed.getvalue()


def options_of(program: str, command: str = "") -> set[str]:
    """Return the options that `--help` names."""
    return {*_OPTION.findall(re.sub(r"[\[\],|]", " ", help_of(program, command))), "--help"}


def every_option() -> set[str]:
    """Return the options of all our programs, and those that our tests add to pytest's."""
    added = {
        option
        for path in (ROOT / "tests").rglob("conftest.py")
        for option in re.findall(r'addoption\("(--[a-z-]+)"', path.read_text())
    }
    ours = {option for program in _MAINS for name in known_commands(program) for option in options_of(program, name)}
    return added | ours | {option for module in _MODULES for option in options_of(module)}


def _shown(line: str) -> Shown | None:
    words = _IN_FRONT.sub("", line, count=1).split()
    if words[:2] == ["python", "-m"]:
        words = words[2:]
        return Shown(words[0], "", frozenset(_OPTION.findall(line))) if words and words[0] in _MODULES else None
    if words and words[0] in COMMANDS and _OPTION.search(line):  # as in `run --once`
        words = ["iot-jobs-agent", *words]
    program = words[0].rpartition("/bin/")[2] if words else ""
    if program not in _MAINS or len(words) == 1:
        return None
    is_command = words[1][0].isalpha() and (program != "iot-jobs-simulator" or words[1] == "rehearse")
    command = words[1] if is_command else ""
    return Shown(program, command, frozenset(_OPTION.findall(line)))
