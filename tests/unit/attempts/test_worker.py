"""Python handlers under the worker: real processes, under the shim."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, Outcome
from iot_jobs_agent.core.outcome import outcome_of
from iot_jobs_agent.worker import keep_traceback

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Story

Run = Callable[..., Awaitable[tuple[Outcome, AttemptResult]]]
ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
# `-I` keeps the current directory and PYTHONPATH away: a handler under test is put in the way of import by hand.
BOOT = "import runpy, sys; sys.path.append({path!r}); runpy.run_module('iot_jobs_agent.worker', run_name='__main__')"

HEAD = """
import asyncio, os, sys, signal
from pydantic import BaseModel, Field, field_validator
from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome

class Params(BaseModel, frozen=True, extra="forbid"):
    n: int = Field(default=1, le=9)
"""
TAIL = '\nHANDLER = Handler(name="sample", params=Params, run=run, timeout_s=5)\n'


@pytest.fixture
def argv(tmp_path: "Path") -> Callable[[str], tuple[str, ...]]:
    """Make a module of a handler's body; the worker's command line for it."""

    def made(body: str) -> tuple[str, ...]:
        (tmp_path / "sample.py").write_text(HEAD + body + TAIL)
        return (sys.executable, "-I", "-c", BOOT.format(path=str(tmp_path)), "sample:HANDLER")

    return made


@pytest.fixture
def run(story: "Story", argv: Callable[[str], tuple[str, ...]]) -> Run:
    async def ran(body: str, params: object = None, **changes: object) -> tuple[Outcome, AttemptResult]:
        result = await story.run("", argv=argv(body), input=json.dumps(params or {}), **changes)
        return outcome_of(result), result

    return ran


async def test_a_handler_gets_its_params_and_settings_and_tells_details(run: Run, story: "Story") -> None:
    body = """
def run(params, job):
    job.progress(40, "copying")
    job.details(slot="B", n=job.settings["n"])
    job.progress(50)
    print(job.id, job.dir, job.is_resumed, job.cancelled, job.last_checkpoint)
    return Outcome.succeeded(n=params.n)
"""
    outcome, result = await run(body, {"n": 7}, settings='{"n": 5}')
    assert (outcome.status, outcome.details) == ("SUCCEEDED", {"n": "7"})
    assert result.stdout == f"job-1 {story.job_directory()} False False None\n"
    assert story.progressed[-1].progress == 50
    assert {k: v for e in story.progressed for k, v in e.details.items()} == {"slot": "B", "n": "5"}


async def test_none_is_success(run: Run) -> None:
    assert (await run("def run(params, job): pass"))[0].status == "SUCCEEDED"


@pytest.mark.parametrize(
    ("answer", "status", "code", "reason"),
    [
        ("Outcome.rejected('not for me')", "REJECTED", "rejected", "not for me"),
        ("Outcome.failed('no space')", "FAILED", "failed", "no space"),
        (
            "Outcome.retry('busy')",
            "FAILED",
            "retry-limit",
            "asked to be tried again beyond its limit: busy",
        ),
        (
            "Outcome.reboot('kernel')",
            "FAILED",
            "reboot-not-allowed",
            "asked for a reboot, but may_reboot is not true in both its manifest and its configuration: kernel",
        ),
        (
            "5",
            "FAILED",
            "internal-error",
            "internal error: run in sample.py, line 8, returned int; return an Outcome or nothing",
        ),
    ],
)
async def test_an_answer_is_an_outcome(run: Run, answer: str, status: str, code: str, reason: str) -> None:
    outcome, _ = await run(f"def run(params, job): return {answer}")
    assert (outcome.status, outcome.code) == (status, code)
    assert outcome.reason.startswith(reason)


async def test_wrong_params_are_rejected_with_field_and_fix_but_without_value(run: Run) -> None:
    outcome, result = await run("def run(params, job): print('ran')", {"n": "canary", "m": "canary"})
    assert outcome.status == "REJECTED"
    assert outcome.reason == (
        "params.n: should be a whole number, and is a string; params.m: is not known to the handler; leave it out"
    )
    assert "canary" not in repr(result)
    assert "ran" not in result.stdout


async def test_a_tag_that_fits_nothing_is_not_repeated(run: Run) -> None:
    body = """
from typing import Literal
class One(BaseModel):
    kind: Literal["one"]
class Two(BaseModel):
    kind: Literal["two"]
class Params(BaseModel):
    pet: One | Two = Field(discriminator="kind")
def run(params, job): ...
"""
    outcome, result = await run(body, {"pet": {"kind": "canary"}})
    assert (outcome.status, outcome.reason) == ("REJECTED", "params.pet: should have as 'kind' one of 'one', 'two'")
    assert "canary" not in repr(result)


async def test_a_handlers_own_error_is_its_reason(run: Run) -> None:
    outcome, _ = await run("def run(params, job): raise HandlerError('the disk is full')")
    assert (outcome.status, outcome.reason) == ("FAILED", "the disk is full")


async def test_a_surprise_is_told_without_what_it_says(
    run: Run, story: "Story", capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, result = await run("def run(params, job): raise KeyError('canary')", {"n": 7})
    assert (outcome.status, outcome.code) == ("FAILED", "internal-error")
    assert outcome.reason == "internal error: KeyError in sample.py, line 8"
    assert "canary" not in repr(result)
    assert "canary" in capsys.readouterr().out  # the device's log
    assert not (story.job_directory() / "traceback").exists()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def run(params, job): return True", "internal error: run in sample.py, line 8, returned bool; return an"),
        ("def run(params, job): return Outcome", "internal error: run in sample.py, line 8, returned type; return an"),
        (
            "import json\ndef run(params, job):\n    json.loads('{')",
            "internal error: JSONDecodeError in sample.py, line 10 (",
        ),
        (
            "def run(params, job): Params(n=10)",
            "internal error: ValidationError in sample.py, line 8 (raised in main.py,",
        ),
        (
            "def run(params, job): return Outcome.succeeded(x={('a', 1): 2})",
            "internal error: the details of its Outcome are not JSON; use strings as keys",
        ),
        *(
            (
                f"def run(params, job): job.run({words})",
                "job.run was called wrongly: give it a list of strings, such as",
            )
            for words in ("'echo hi'", "[]", "['echo', 5]", "b'echo'")
        ),
    ],
)
async def test_field_g4_a_mistake_of_the_authors_is_told_with_the_line_and_the_fix(
    run: Run, body: str, reason: str
) -> None:
    outcome, _ = await run(body)
    assert (outcome.status, outcome.reason[: len(reason)]) == ("FAILED", reason)


def test_a_traceback_replaces_a_link_and_follows_it_nowhere(tmp_path: "Path") -> None:
    target, link = tmp_path / "target", tmp_path / "traceback"
    target.write_text("precious")
    link.symlink_to(target)
    keep_traceback(link, "Traceback")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("precious", "Traceback", False)


async def test_field_g4_the_traceback_begins_with_the_authors_line(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("import json\ndef run(params, job):\n    json.loads('{')")
    logged = capsys.readouterr().out
    assert "json.loads(" in logged
    assert "worker.py" not in logged


async def test_field_g4_a_program_may_be_a_path(run: Run) -> None:
    body = "from pathlib import Path\ndef run(params, job): job.run([Path('/bin/echo'), 'hi'])"
    outcome, result = await run(body)
    assert (outcome.status, result.stdout) == ("SUCCEEDED", "hi\n")


def test_field_g4_a_module_that_cannot_be_imported_is_told_with_the_cause_first(
    argv: Callable[[str], tuple[str, ...]],
) -> None:
    command = argv("import no_such_library\nrun = None")[:-1]
    done = subprocess.run([*command, "--describe", "sample:HANDLER"], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout)["sample:HANDLER"]["error"] == (
        "cannot be imported: No module named 'no_such_library' (ModuleNotFoundError in sample.py, line 8)"
    )


@pytest.mark.parametrize(
    "leaves",
    [
        "raise asyncio.CancelledError('canary')",
        "raise BaseException('canary')",
        "return Outcome.succeeded(x={('canary', 1): 2})",
        "x = {}; x['x'] = x; return Outcome.succeeded(x=x)",
    ],
)
async def test_no_exception_and_no_answer_ends_the_worker(run: Run, leaves: str) -> None:
    outcome, result = await run(f"def run(params, job): {leaves}")
    assert (outcome.status, outcome.code, result.code) == ("FAILED", "internal-error", 0)
    assert "canary" not in repr(result)


async def test_a_value_that_is_not_json_becomes_text_or_nothing_but_never_raises(run: Run, story: "Story") -> None:
    body = """
def run(params, job):
    job.details(path=job.dir, no={(1, 2): 3})
    job.details(path=job.dir)
    job.progress(lambda: 1)
    job.extend(object())
    job.checkpoint(object())
"""
    outcome, result = await run(body)
    assert [e.details for e in story.progressed if e.details] == [{"path": str(story.job_directory())}]
    assert result.stderr.splitlines() == [
        f"not reported: not JSON: {what}" for what in ("details", "progress", "extend_s", "checkpoint")
    ]
    assert outcome.reason == "a checkpoint is not JSON: keep a file in job.dir instead"


@pytest.mark.parametrize(
    "body", ["import nonsense\nrun = None", "sys.exit(0)\nrun = None", "def run(params, job): sys.exit(0)"]
)
async def test_a_module_that_cannot_be_imported_or_exits_is_not_a_success(run: Run, body: str) -> None:
    assert (await run(body))[0].code == "internal-error"


async def test_a_validation_error_of_the_work_is_not_the_documents_fault(run: Run) -> None:
    assert (await run("def run(params, job): Params(n=10)"))[0].code == "internal-error"


async def test_an_asynchronous_handler_is_waited_for(run: Run) -> None:
    body = "async def run(params, job):\n    await asyncio.to_thread(str)\n    return Outcome.succeeded(n=2)\n"
    assert (await run(body))[0].details == {"n": "2"}


async def test_sigterm_cancels_an_asynchronous_handler(story: "Story", argv: Callable[[str], tuple[str, ...]]) -> None:
    body = """
async def run(params, job):
    job.progress(1, "up")
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up", job.cancelled)
"""
    story.start("", argv=argv(body))
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.stdout) == (Ending.STOPPED, "cleaned up True\n")


async def test_a_plain_handler_sees_that_it_is_cancelled(
    story: "Story", argv: Callable[[str], tuple[str, ...]]
) -> None:
    body = """
def run(params, job):
    job.progress(1, "up")
    while not job.cancelled:
        signal.sigtimedwait([], 0.01)
    print("seen")
"""
    story.start("", argv=argv(body))
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.stdout) == (Ending.STOPPED, "seen\n")


async def test_a_resumed_handler_has_its_last_checkpoint_though_it_and_its_shim_were_killed(
    argv: Callable[[str], tuple[str, ...]], story: "Story"
) -> None:
    body = """
def run(params, job):
    if job.is_resumed:
        print(job.last_checkpoint, [path.read_text() for path in job.dir.glob("file")])
        return
    (job.dir / "file").write_text("kept")
    job.checkpoint({"copied": 2})
    job.checkpoint({"copied": 3})
    job.progress(1, "up")
    signal.pause()
"""
    again = AttemptId(ATTEMPT.execution, 0, 2)
    story.start("", argv=argv(body))
    await story.said("up")
    os.kill(story.pid_of_shim(), signal.SIGKILL)  # which takes the handler along
    assert (await story.ended()).ending is Ending.LOST
    story.start("", again, Facts("thing-1", "resume", "power-loss"), argv=argv(body))
    assert (await story.ended(again)).stdout == "{'copied': 3} ['kept']\n"


async def test_a_checkpoint_too_long_is_an_error_and_a_closed_fd_3_is_none(run: Run) -> None:
    outcome, _ = await run(
        "def run(params, job):\n    os.close(3)\n    job.progress(1)\n    job.checkpoint('x' * 5000)\n"
    )
    assert outcome.reason.startswith("a checkpoint is longer than 4096 bytes")


async def test_with_fd_3_closed_what_is_told_goes_into_no_file_of_the_handlers(
    story: "Story", argv: Callable[[str], tuple[str, ...]]
) -> None:
    body = """
def run(params, job):
    with (job.dir / "file").open("w") as file:
        job.progress(50, "in the middle")
    return Outcome.succeeded(size=(job.dir / "file").stat().st_size)
"""
    closing = ("/bin/sh", "-c", 'exec 3>&-; exec "$@"', "sh")
    result = await story.run("", argv=(*closing, *argv(body)), input="{}")
    assert outcome_of(result).details == {"size": "0"}


@pytest.mark.parametrize("answer", ["'r', x='y' * 40000", "'r' + chr(0x1F600) * 40000"])
async def test_a_result_that_is_too_long_keeps_its_outcome(run: Run, answer: str) -> None:
    outcome, _ = await run(f"def run(params, job): return Outcome.failed({answer})")
    assert (outcome.status, outcome.code, outcome.reason[0]) == ("FAILED", "failed", "r")


async def test_a_result_that_cannot_be_written_is_not_a_success(run: Run) -> None:
    _, result = await run("def run(params, job): os.mkdir(os.environ['JOB_RESULT_FILE'])")
    assert result.code != 0


def test_handlers_are_described_in_one_go_whatever_they_do(argv: Callable[[str], tuple[str, ...]]) -> None:
    command = argv("print('noise')\ndef run(params, job): ...")[:-1]
    specs = ["sample:HANDLER", "sample:nothing", "no_such_module:X", "iot_jobs_handlers.run_command:HANDLER"]
    done = subprocess.run([*command, "--describe", *specs], capture_output=True, check=True, text=True)
    described = json.loads(done.stdout)
    assert list(described) == specs
    assert described["sample:HANDLER"]["timeout_s"] == described["sample:HANDLER"]["max_timeout_s"] == 5
    assert described["sample:HANDLER"]["params"]["properties"]["n"]["maximum"] == 9
    assert described["sample:nothing"] == {"error": "sample:nothing is not a Handler"}
    assert "No module named 'no_such_module'" in described["no_such_module:X"]["error"]
    assert described["iot_jobs_handlers.run_command:HANDLER"]["name"] == "run-command"
    assert "noise" in done.stderr


def test_a_wrong_manifest_is_told_by_field(argv: Callable[[str], tuple[str, ...]]) -> None:
    command = argv("def run(params, job): ...\nHANDLER = 1\nX = Handler(name='X!', params=Params, run=run)\n")[:-1]
    done = subprocess.run([*command, "--describe", "sample:X"], capture_output=True, check=True, text=True)
    told = json.loads(done.stdout)["sample:X"]["error"]
    assert told.startswith("its manifest is wrong: name: cannot be the name of a handler; use such a name as ")


def test_a_wrong_command_line_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "iot_jobs_agent.worker"], capture_output=True, check=False, text=True
    )
    assert (done.returncode, "usage:" in done.stderr) == (2, True)
