"""Run one program from the list that the device's owner allows. Never a shell: what looks like shell syntax is text."""

import shlex
from pathlib import Path

from pydantic import BaseModel, Field

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome

LONGEST_NAMED = 64


class Params(BaseModel, frozen=True, extra="forbid"):
    """What to run."""

    command: tuple[str, ...] | str = Field(
        description="program and arguments, verbatim; one string is split into words as a shell would split it"
    )


def run_command(params: Params, job: Job) -> Outcome | None:
    """Run the program with our own output. The setting `programs` lists the absolute paths of what may be run."""
    programs = job.settings.get("programs", [])
    if not isinstance(programs, list) or not all(isinstance(each, str) and each.startswith("/") for each in programs):
        raise HandlerError("`programs` of [handler.run-command] must be a list of absolute paths")
    try:
        words = shlex.split(params.command) if isinstance(params.command, str) else list(params.command)
    except ValueError as error:
        return Outcome.rejected(f"command: cannot be split into words: {error}")
    if not words or not words[0]:
        return Outcome.rejected("command: names no program")
    if any("\0" in word for word in words):
        return Outcome.rejected("command: holds a NUL character, which no program can be given; remove it")
    program = find_program(words[0], programs)
    if program is None:
        named = words[0].split("?", 1)[0][:LONGEST_NAMED]  # perhaps the whole command, joined by commas, with a URL
        fix = "add its path there, or run another"
        return Outcome.rejected(f"{named} is not one of `programs` in [handler.run-command]; {fix}")
    job.run([program, *words[1:]])
    return None


def find_program(wanted: str, programs: list[str]) -> str | None:
    """Return the program that is meant: by its path, or the first in the list with that name. None if not listed."""
    return next((each for each in programs if wanted in {each, Path(each).name}), None)


HANDLER = Handler(name="run-command", params=Params, run=run_command, summary=__doc__.splitlines()[0])
