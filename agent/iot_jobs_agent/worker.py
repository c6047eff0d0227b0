"""Runs one Python handler in this process: `python -I -m iot_jobs_agent.worker module:attribute run|resume`.

The contract is the same as for any executable (docs/handlers.md): params on stdin, fd 3, the result file, the exit
code. `--describe module:attribute …` prints one JSON object with the manifest of each, or {"error": reason}. If a run
raises anything but HandlerError, we report only the type of the exception and the author's line that led to it, because
its message may contain values of the job document. The traceback goes to the file `traceback` in the job's directory,
which never leaves the device.
"""

import contextlib
import importlib
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_agent.installation import handler_packages
from iot_jobs_agent.shim.protocol import RESULT_BYTES, TRACEBACK
from iot_jobs_agent.wrong_fields import wrong_manifest, wrong_params

T = TypeVar("T")


class Surprise(Exception):  # noqa: N818 - it is one
    """Foreign code raised something that it should not have. The message has only what may be shown of it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}{place_of(error)}")


class WrongAnswer(Exception):  # noqa: N818 - as above
    """A handler's `run` returned something that is not an outcome. The message may be shown."""


def place_of(error: BaseException) -> str:
    """Return " in FILE, line N" for the author's last line on the way to where `error` was raised, "" if none is known.

    If that was in a library, the place there follows in brackets.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_foreign(frame.filename)]
    # The first foreign frame is the handler's. What stands in another directory is a library that it called.
    own = [frame for frame in own if Path(frame.filename).parent == Path(own[0].filename).parent]
    if not own:
        return ""
    shown, last = (f"{Path(each.filename).name}, line {each.lineno}" for each in (own[-1], frames[-1]))
    return f" in {shown}" if last == shown else f" in {shown} (raised in {last})"


def is_foreign(file: str) -> bool:
    """Return whether a file of source is neither ours nor Python's own."""
    path = Path(file)
    is_pythons = path.is_relative_to(Path(os.__file__).parent) and not {"site-packages", "dist-packages"} & {
        *path.parts
    }
    return not file.startswith("<frozen") and not path.is_relative_to(Path(__file__).parent) and not is_pythons


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error for people, without our own frames above the handler's."""
    frame = error.__traceback__
    while frame is not None and not is_foreign(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame or error.__traceback__))


def call_guarded(foreign: Callable[[], T]) -> T:
    """Call foreign code. HandlerError, WrongAnswer and KeyboardInterrupt pass; anything else becomes a Surprise."""
    try:
        return foreign()
    except (HandlerError, WrongAnswer, KeyboardInterrupt):
        raise
    except BaseException as error:  # foreign code: report whatever it raises, rather than end because of it
        raise Surprise(error) from error


def load_handler(spec: str) -> Handler[Any]:
    """Import the handler that `module:attribute` names. HandlerError if it is not a handler."""
    module, _, attribute = spec.partition(":")
    found = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(found, Handler):
        raise HandlerError(f"{spec} is not a Handler")
    return found


def describe_one(spec: str) -> dict[str, Any]:
    """Return the manifest of one handler, or the reason why there is none."""
    try:
        return call_guarded(lambda: load_handler(spec).manifest.model_dump(mode="json"))
    except HandlerError as error:
        return {"error": str(error)}
    except Surprise as error:
        if isinstance(error.__cause__, ValidationError):
            return {"error": f"its manifest is wrong: {wrong_manifest(error.__cause__)}"}
        where = f" ({error})" if place_of(error.__cause__ or error) else ""
        return {"error": f"cannot be imported: {error.__cause__ or error}{where}"}


def run_to_result(spec: str) -> str:
    """Run the handler; return the text of its result file, with a code if the outcome is not the handler's own."""
    try:
        return call_guarded(lambda: result_text(run_handler(spec) or Outcome.succeeded()))
    except HandlerError as error:
        return result_text(Outcome.failed(str(error) or "the handler gave no reason"))
    except WrongAnswer as error:
        return result_text(Outcome.failed(f"internal error: {error}"), "internal-error")
    except Surprise as error:
        with contextlib.suppress(OSError):
            keep_traceback(Path(os.environ["JOB_DIR"], TRACEBACK), traceback_of(error.__cause__ or error))
        return result_text(Outcome.failed(f"internal error: {error}"), "internal-error")


def keep_traceback(path: Path, text: str) -> None:
    """Write a file in place of whatever an earlier attempt may have put there, such as a link. Raises OSError."""
    path.unlink(missing_ok=True)
    with path.open("x") as file:
        file.write(text)


def result_text(outcome: Outcome, code: str = "") -> str:
    """Return an outcome as the text of a result file. Values that are not JSON become their str(), which may raise.

    Raises WrongAnswer if JSON can spell them in no way: a key that is not a string, or an object that contains itself.
    """
    result = {"outcome": outcome.kind, "reason": outcome.reason, "details": dict(outcome.details)}
    try:
        text = json.dumps(result | ({"code": code} if code else {}), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        if place_of(error):  # raised by a str() of the author's
            raise
        raise WrongAnswer("the details of its Outcome are not JSON; use strings as keys, and no loops") from None
    if len(text) > RESULT_BYTES:
        return json.dumps({"outcome": outcome.kind, "reason": outcome.reason[: RESULT_BYTES // 16]})
    return text


def run_handler(spec: str) -> Outcome | None:
    """Validate the params and run the handler."""
    handler = load_handler(spec)
    try:
        params = handler.params.model_validate_json(sys.stdin.buffer.read())
    except ValidationError as error:
        return Outcome.rejected(wrong_params(error, handler.params.model_json_schema()))
    job = Job()
    signal.signal(signal.SIGTERM, lambda *_: setattr(job, "cancelled", True))
    answer = handler.run(params, job)
    if inspect.isawaitable(answer):
        answer = run_coroutine(answer, job)
    if answer is not None and not isinstance(answer, Outcome):
        raise WrongAnswer(
            f"run{_place_of_function(handler.run)} returned {type(answer).__name__}; return an Outcome or nothing"
        )
    return answer


def _place_of_function(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" in {Path(code.co_filename).name}, line {code.co_firstlineno}," if code else ""


def run_coroutine(answer: Any, job: Job) -> Any:
    """Run the coroutine of an `async def` handler and return its answer; SIGTERM cancels it."""
    import asyncio  # noqa: PLC0415 - a tenth of the start-up time, and most handlers are plain functions

    async def wait() -> Any:
        task = asyncio.ensure_future(answer)

        def cancel() -> None:
            job.cancelled = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return Outcome.failed("cancelled")

    return asyncio.run(wait())


def run(spec: str) -> int:
    """Run the handler, write its result file, and return the exit code."""
    Path(os.environ["JOB_RESULT_FILE"]).write_text(run_to_result(spec))
    return 0


def describe(specs: list[str]) -> int:
    """Print the manifest of each handler, but nothing that their modules print. Return the exit code."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        json.dump({spec: describe_one(spec) for spec in specs}, out)
    return 0


def main(arguments: list[str]) -> int:
    """Run the program and return its exit code."""
    sys.path += handler_packages()
    match arguments:
        case ["--describe", *specs]:
            return describe(specs)
        case [spec, "run" | "resume"]:
            return run(spec)
        case _:
            sys.stderr.write(
                "usage: iot_jobs_agent.worker module:attribute run|resume, or --describe module:attribute ...\n"
            )
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
