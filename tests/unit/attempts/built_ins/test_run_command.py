import json
import sys
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.core.job import AttemptResult, Ending
from iot_jobs_agent.core.outcome import outcome_of

if TYPE_CHECKING:
    from conftest import Story

PROGRAMS = ["/bin/echo", "/bin/false", "/bin/sh", "/bin/no-such-program"]


async def ran(story: "Story", command: object, programs: object = PROGRAMS) -> AttemptResult:
    argv = (sys.executable, "-I", "-m", "iot_jobs_agent.worker", "iot_jobs_handlers.run_command:HANDLER")
    return await story.run(
        "", argv=argv, input=json.dumps({"command": command}), settings=json.dumps({"programs": programs})
    )


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["echo", "a b", "$HOME", ";", "id", "*", "\n"], "a b $HOME ; id * \n\n"),
        ("/bin/echo 'a  b' \"c\" d\\ e && id | cat > /tmp/x", "a  b c d e && id | cat > /tmp/x\n"),
        ("echo ok", "ok\n"),
    ],
)
async def test_a_listed_program_runs_with_its_arguments_verbatim(story: "Story", command: object, output: str) -> None:
    result = await ran(story, command)
    assert outcome_of(result).status == "SUCCEEDED"
    assert result.stdout == output


@pytest.mark.parametrize(
    "command", ["cat /etc/passwd", ["/usr/bin/id"], ["../bin/echo"], ["/bin/../bin/echo"], "bin/echo", "/tmp/echo"]
)
async def test_a_program_that_is_not_listed_is_rejected_and_named(story: "Story", command: str | list[str]) -> None:
    outcome = outcome_of(await ran(story, command))
    program = command.split()[0] if isinstance(command, str) else command[0]
    assert outcome.status == "REJECTED"
    assert (
        outcome.reason
        == f"{program} is not one of `programs` in [handler.run-command]; add its path there, or run another"
    )


async def test_of_a_command_taken_for_one_word_no_query_of_a_url_is_repeated(story: "Story") -> None:
    outcome = outcome_of(await ran(story, "curl,https://example.com/file?X-Amz-Signature=canary"))
    reason = "curl,https://example.com/file is not one of `programs` in [handler.run-command]; add its path"
    assert outcome.status == "REJECTED"
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize("command", ["", [], [""], "echo 'open", 5, [1], ["echo", "a\0b"], "echo a\0b"])
async def test_params_that_are_not_a_command_are_rejected(story: "Story", command: object) -> None:
    assert outcome_of(await ran(story, command)).status == "REJECTED"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "false exited with code 1"),
        (["sh", "-c", "echo why >&2; exit 3"], "sh exited with code 3"),
        (["sh", "-c", "kill -9 $$"], "sh was killed by signal 9 (SIGKILL)"),
        ("no-such-program", "no-such-program could not be started: No such file or directory"),
    ],
)
async def test_a_failure_is_told_as_it_was(story: "Story", command: object, reason: str) -> None:
    outcome = outcome_of(await ran(story, command))
    assert (outcome.status, outcome.reason) == ("FAILED", reason)


@pytest.mark.parametrize("programs", ["echo", ["echo"], [1]])
async def test_a_wrong_list_is_the_devices_fault(story: "Story", programs: object) -> None:
    outcome = outcome_of(await ran(story, "echo", programs))
    assert (outcome.status, "list of absolute paths" in outcome.reason) == ("FAILED", True)


async def test_a_stop_reaches_the_program_too(story: "Story") -> None:
    argv = (sys.executable, "-I", "-m", "iot_jobs_agent.worker", "iot_jobs_handlers.run_command:HANDLER")
    command = {"command": ["sh", "-c", "touch up; exec sleep 1000"]}
    result = await story.run(
        "", argv=argv, input=json.dumps(command), settings=json.dumps({"programs": PROGRAMS}), timeout_s=1.5
    )
    assert result.ending is Ending.DEADLINE
    assert result.duration_s < 5
    assert (story.job_directory() / "up").exists()
