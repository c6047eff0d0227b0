"""`iot-jobs-agent try`: runs one handler as the agent would, without the cloud."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iot_jobs_agent import logs
from iot_jobs_agent.commands import options
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.events import AttemptEvent, AttemptProgressed
from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, Outcome
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.errors import AgentError, DocumentError
from iot_jobs_agent.kit.trial import Stage, TriedHandler, find_tried_handler, stage
from iot_jobs_agent.state.owner import become_owner


class ParamsError(AgentError):
    """The params cannot be read. The message says where and why."""


def main(arguments: Sequence[str]) -> int:
    """Run the handler. Return 0 if it SUCCEEDED (with `--conform`: if nothing is wrong), 1 otherwise."""
    chosen = _parser().parse_args(arguments)
    params = _params(chosen.params)
    logs.configure("warning", "console")  # to stderr: an author wants to see the traceback of an internal error
    config = load_handlers(chosen.config)
    if chosen.config is not None:
        become_owner(config.agent.state_directory)
    return asyncio.run(_try(chosen, config, params))


def _parser() -> argparse.ArgumentParser:
    parser = options.parser("try")
    parser.add_argument(
        "handler", metavar="NAME", help="a handler's name, a path to an executable (./it), or module:attribute"
    )
    parser.add_argument("params", metavar="PARAMS", help="a file with the params, a JSON object; - for stdin")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="handlers' settings, overrides and directories are taken from here; [aws] may be missing",
    )
    parser.add_argument(
        "--conform",
        action="store_true",
        help="run it in many ways, some of them hostile, and say what is wrong",
    )
    options.add_json(parser)
    return parser


def _params(name: str) -> dict[str, Any]:
    """Read the params from a file, or from stdin if `name` is "-". Raises ParamsError."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        params = json.loads(data)
    except OSError as error:
        raise ParamsError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"{name} is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise ParamsError(f"{name} is not a JSON object; params are one, as {{}}")
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
            outcome, result = await _attempt(made, handler, params, show)
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
    made: Stage, handler: TriedHandler, params: dict[str, Any], show: "Shown"
) -> tuple[Outcome, AttemptResult]:
    step = handler.step(params)
    show.line("started", f"{handler.handler.name}, at most {step.timeout_s:g} s")
    attempted = made.start(step, listen=show.event)
    return await attempted.outcome(), await attempted.ended()


async def _conforms(made: Stage, handler: TriedHandler, params: dict[str, Any], *, as_json: bool) -> int:
    from iot_jobs_agent.kit.conformance import findings  # noqa: PLC0415 - only with --conform

    found = []
    async for finding in findings(made, handler, params):
        found.append(finding)
        if not as_json:
            print(
                f"wrong  {finding.case}: {finding.problem}" if finding.problem else f"ok     {finding.case}", flush=True
            )
    if as_json:
        print(json.dumps([{"case": each.case, "problem": each.problem} for each in found], indent=2))
    return 1 if any(each.problem for each in found) else 0


class Shown:
    """Prints what happens while the handler runs, one line per fact."""

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent

    def line(self, what: str, text: str) -> None:
        """Print a line, unless `text` is empty or the output is to be JSON."""
        if text and not self._is_silent:
            print(f"{what:<9} {text}", flush=True)

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
