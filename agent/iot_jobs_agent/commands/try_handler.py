"""`iot-jobs-agent try`: runs one handler as the agent would, without the cloud."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from iot_jobs_agent import logs
from iot_jobs_agent.attempts.attempts import Facts
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import one_line, printable, width, wrapped
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.events import AttemptEvent, AttemptProgressed
from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, Outcome
from iot_jobs_agent.core.outcome import Followup, ending_in_words
from iot_jobs_agent.errors import DocumentError, UsageError
from iot_jobs_agent.kit.play import kill_handler, play_interruption, play_out
from iot_jobs_agent.kit.trial import Attempted, Stage, TriedHandler, find_tried_handler, stage
from iot_jobs_agent.state.owner import become_owner

LABEL = 10
INTERRUPT_AFTER_S = 1.0  # for a handler that writes nothing to fd 3


def main(arguments: Sequence[str]) -> int:
    """Run the handler. Return 0 if it SUCCEEDED (with `--conform`: if nothing is wrong), 1 otherwise.

    Raises:
        UsageError: the params cannot be read, with where and why.
    """
    chosen = parser().parse_args(arguments)
    params = _params(chosen.params)
    logs.configure("warning", "console")  # to stderr: an author wants to see the traceback of an internal error
    config = load_handlers(chosen.config)
    if chosen.config is not None:
        become_owner(config.agent.state_directory)
    return asyncio.run(_try(chosen, config, params))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("try")
    made.add_argument(
        "handler", metavar="NAME", help="a handler's name, a path to an executable (./it), or module:attribute"
    )
    made.add_argument(
        "params", metavar="PARAMS", help="the params, a JSON object; or a file that has them; - for stdin"
    )
    made.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="handlers' settings, overrides and directories are taken from here; [aws] may be missing",
    )
    made.add_argument(
        "--conform",
        action="store_true",
        help="run it in many ways, some of them hostile, and say what is wrong",
    )
    made.add_argument("--retry", action="store_true", help="if it asks for another try, give it one, without the delay")
    made.add_argument(
        "--reboot", action="store_true", help="if it asks for a reboot, resume it as after one; nothing is rebooted"
    )
    made.add_argument(
        "--interrupt",
        action="store_true",
        help="kill it at its first word on fd 3, or after a second, and go on as on_interrupt of its manifest says",
    )
    options.add_json(made)
    return made


def _params(word: str) -> dict[str, Any]:
    """Read the params from the argument, from a file, or from stdin if it is "-". Raises UsageError."""
    params = options.json_argument(word, "PARAMS", "the params themselves")
    if not isinstance(params, dict):
        raise UsageError(f"{options.shown_argument(word, 'PARAMS')} is not a JSON object; params are one, as {{}}")
    return params


async def _try(chosen: argparse.Namespace, config: Config, params: dict[str, Any]) -> int:
    async with stage() as made:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _stop, made)
        config = config._replace(agent=config.agent._replace(state_directory=made.state))
        show = Shown(is_silent=chosen.json)
        try:
            handler = await find_tried_handler(chosen.handler, config)
            problem = handler.device_problem
            show.line("warning", f"a device would refuse it as it is: {problem}" if problem else "")
            if chosen.conform:
                return await _conforms(made, handler, params, as_json=chosen.json)
            outcome, result = await _attempt(made, handler, params, show, chosen)
        except DocumentError as error:
            outcome, result = Outcome(ExecutionStatus.REJECTED, str(error)), None
    if chosen.json:
        print(json.dumps(_facts(outcome, result), indent=2))
    else:
        show.end(outcome, result)
    return 0 if outcome.status is ExecutionStatus.SUCCEEDED else 1


def _stop(made: Stage) -> None:
    print("stopping: SIGTERM, then its grace", file=sys.stderr, flush=True)
    made.stop()


async def _attempt(
    made: Stage, handler: TriedHandler, params: dict[str, Any], show: "Shown", chosen: argparse.Namespace
) -> tuple[Outcome, AttemptResult]:
    """Run the first attempt, and those that follow it as far as the options ask for them."""
    step = handler.step(params)
    show.line("started", f"{handler.handler.name}, at most {step.timeout_s:g} s")
    attempted = made.start(step, listen=show.event)
    if chosen.interrupt and await _is_interrupted(made, attempted, show):
        followed = await play_interruption(made, attempted, show.next)
        if isinstance(followed, Outcome):
            return followed, await attempted.ended()
        attempted = followed
    follow = {
        *([Followup.RETRY] if chosen.retry else []),
        *([Followup.REBOOT] if chosen.reboot else []),
    }
    return await play_out(made, attempted, follow, show.next)


async def _is_interrupted(made: Stage, attempted: Attempted, show: "Shown") -> bool:
    """Kill the handler in the middle of its work; return False if it has ended before."""
    await attempted.started.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(INTERRUPT_AFTER_S):
            await attempted.spoke.wait()
    if attempted.over.is_set():
        show.line("note", "it ended before it could be interrupted")
        return False
    kill_handler(made, attempted)
    show.line("killed", "by SIGKILL, as by a power cut")
    return True


async def _conforms(made: Stage, handler: TriedHandler, params: dict[str, Any], *, as_json: bool) -> int:
    from iot_jobs_agent.kit.conformance import findings  # noqa: PLC0415 - only with --conform

    found = []
    async for finding in findings(made, handler, params):
        found.append(finding)
        if not as_json:
            line = f"wrong  {finding.case}: {finding.problem}" if finding.problem else f"ok     {finding.case}"
            print(wrapped(one_line(line), width(), len("wrong  ")), flush=True)
    if as_json:
        print(json.dumps([{"case": each.case, "problem": each.problem} for each in found], indent=2))
    return 1 if any(each.problem for each in found) else 0


class Shown:
    """Prints what happens while the handler runs, one line per fact, and nothing that the terminal would obey."""

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent

    def line(self, what: str, text: str) -> None:
        """Print a line, unless `text` is empty or the output is to be JSON."""
        if text and not self._is_silent:
            for line in printable(text).split("\n"):
                print(wrapped(f"{what:<9} {line}", width(), LABEL), flush=True)

    def next(self, attempted: Attempted, facts: Facts) -> None:
        """Print that another attempt has started, and what its handler is told about why."""
        self.line("again", f"attempt {attempted.attempt.number}, JOB_PHASE={facts.phase} JOB_REASON={facts.reason}")

    def event(self, event: AttemptEvent) -> None:
        """Print the handler's progress and details."""
        if isinstance(event, AttemptProgressed):
            percent = "" if event.progress is None else f"{event.progress:g} %"
            self.line("progress", " ".join(filter(None, [percent, event.message])))
            for key, value in event.details.items():
                self.line("detail", f"{key} = {value}")

    def end(self, outcome: Outcome, result: AttemptResult | None) -> None:
        """Print the handler's output, its details, and how it ended."""
        for name, text in (("stdout", result.stdout), ("stderr", result.stderr)) if result else ():
            for line in text.splitlines():
                self.line(name, line)
        for key, value in outcome.details.items():
            self.line("details", f"{key} = {value}")
        words = [outcome.status.value, f"[{outcome.code}]" if outcome.code else "", outcome.reason]
        self.line("outcome", "  ".join(filter(None, words)))
        if result:
            self.line("result", ending_in_words(result))


def _facts(outcome: Outcome, result: AttemptResult | None) -> dict[str, Any]:
    return {
        "status": outcome.status.value,
        "code": outcome.code,
        "reason": outcome.reason,
        "details": dict(outcome.details),
        "result": ending_in_words(result) if result else "",
        "duration_s": result.duration_s if result else 0.0,
        "stdout": result.stdout if result else "",
        "stderr": result.stderr if result else "",
    }
