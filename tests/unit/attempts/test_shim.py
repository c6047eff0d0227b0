"""How a handler runs and ends under the shim: real processes, seen through what the agent is told."""

import ast
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import iot_jobs_agent.shim
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.job import Ending, StepKind
from iot_jobs_agent.shim.files import write_durably
from iot_jobs_agent.shim.supervisor import Tail

if TYPE_CHECKING:
    from conftest import Story


@pytest.mark.parametrize("code", [0, 1, 3, 100, 127, 255])
async def test_an_exit_code_is_told_verbatim(story: "Story", code: int) -> None:
    result = await story.run(f"exit {code}")
    assert (result.ending, result.code, result.signal) == (Ending.EXITED, code, None)


@pytest.mark.parametrize(
    ("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15), ("ABRT", 6), ("PIPE", 13), ("HUP", 1)]
)
async def test_a_death_by_signal_is_not_an_exit(story: "Story", name: str, number: int) -> None:
    result = await story.run(f"ulimit -c 0; kill -{name} $$")
    assert (result.ending, result.code, result.signal) == (Ending.SIGNALED, None, number)


async def test_the_environment_is_clean_and_says_what_the_contract_says(
    story: "Story", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")
    result = await story.python("import json, os; print(json.dumps(dict(os.environ)))", timeout_s=12.5)
    said = json.loads(result.stdout)
    assert said.pop("JOB_TOKEN")
    assert {said.pop(name) for name in ("PATH", "LANG", "TMPDIR")}
    job, attempt = str(story.job_directory()), str(story.directory())
    said.pop("LC_CTYPE", None)  # Python's own, where the locale is C
    assert said == {
        "HOME": job,
        "JOB_DIR": job,
        "JOB_PROTOCOL": "1",
        "JOB_ID": "job-1",
        "JOB_EXECUTION_NUMBER": "1",
        "JOB_NAMESPACE": "",
        "JOB_THING_NAME": "thing-1",
        "JOB_STEP": "0",
        "JOB_ATTEMPT": "1",
        "JOB_PHASE": "run",
        "JOB_REASON": "first",
        "JOB_DEADLINE_S": "13",
        "JOB_SETTINGS_FILE": f"{attempt}/settings.json",
        "JOB_FILE": f"{attempt}/job.json",
        "JOB_CONTROL_FD": "3",
        "JOB_RESULT_FILE": f"{job}/.result.0.1",
    }


async def test_the_params_are_on_stdin_and_in_a_file_that_nobody_else_may_read(story: "Story") -> None:
    script = 'cat; cat "$JOB_FILE" "$JOB_SETTINGS_FILE"; stat -c %a "$JOB_FILE" "$JOB_SETTINGS_FILE" "$JOB_DIR"'
    result = await story.run(script, input='{"a": "ä"}', settings='{"s": 1}')
    assert result.stdout == '{"a": "ä"}{"a": "ä"}{"s": 1}400\n400\n700\n'


async def test_a_handler_has_its_phase_as_argument_and_four_descriptors(story: "Story") -> None:
    result = await story.run('echo "$1"; cd /proc/self/fd; echo *; pwd -P >/dev/null')
    assert result.stdout.splitlines()[0] == "run"
    assert result.stdout.splitlines()[1].split()[:4] == ["0", "1", "2", "3"]


async def test_a_plain_command_has_its_own_arguments_and_neither_fd_3_nor_a_result_file(story: "Story") -> None:
    script = 'echo "$#"; [ -e /proc/self/fd/3 ] || echo closed; echo "${JOB_RESULT_FILE-none} ${JOB_CONTROL_FD-none}"'
    result = await story.run(script, kind=StepKind.COMMAND)
    assert result.stdout == "0\nclosed\nnone none\n"


async def test_signals_are_as_a_program_expects_them(story: "Story") -> None:
    result = await story.run("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["0" * 16, "0" * 16]


async def test_signals_that_the_agent_was_started_to_ignore_or_with_blocked_are_not(
    new_story: Callable[..., "Story"],
) -> None:
    def blocking(directory: Path) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        try:
            return plain(directory)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    handled = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        result = await new_story(blocking).run("exec grep -E '^Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.signal(signal.SIGQUIT, handled)
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["0" * 16, "0" * 16]


async def test_an_argument_that_no_program_can_have_keeps_it_from_starting(story: "Story") -> None:
    assert (await story.run("", argv=("/bin/echo", "a\0b"))).ending is Ending.CANNOT_START


@pytest.mark.parametrize(
    ("script", "lines"),
    [("true", 0), ("echo; echo", 2), ("printf 'a\nb'", 2), ("seq 100000", 100_000), ("head -c 100000 /dev/zero", 1)],
)
async def test_all_lines_on_stderr_are_counted_not_only_those_that_are_kept(
    story: "Story", script: str, lines: int
) -> None:
    result = await story.run(f"{{ {script}; }} >&2; echo out")
    assert (result.stderr_lines, result.stdout) == (lines, "out\n")


async def test_a_lot_of_stderr_while_stdout_is_open_hangs_nothing(story: "Story") -> None:
    result = await story.python("import sys; sys.stderr.write('e' * 204800 + 'end'); sys.stderr.flush(); print('out')")
    assert (result.code, result.stdout) == (0, "out\n")
    assert result.stderr == "e" * (65536 - 3) + "end"


async def test_ten_megabytes_of_output_cost_no_more_than_their_tail(story: "Story") -> None:
    result = await story.python("import sys\nfor i in range(10): sys.stdout.write(str(i) * 1048576)\nprint('end')")
    assert result.stdout == "9" * (65536 - 4) + "end\n"
    assert (story.directory() / "stdout").stat().st_size == 65536


async def test_output_that_is_not_text_does_not_fail_the_attempt(story: "Story") -> None:
    result = await story.run(r"printf '\377\000a'; exit 0")
    assert (result.code, result.stdout) == (0, "\ufffd\0a")


@pytest.mark.parametrize(
    ("script", "parsed", "bad"),
    [
        (
            'echo \'{"outcome": "failed", "reason": "r"}\' > "$JOB_RESULT_FILE"',
            {"outcome": "failed", "reason": "r"},
            "",
        ),
        ("true", None, ""),
        (': > "$JOB_RESULT_FILE"', None, "not JSON"),
        ('echo "[]" > "$JOB_RESULT_FILE"', None, "not a JSON object"),
        ('mkfifo "$JOB_RESULT_FILE"', None, "not a regular file"),
        ('mkdir "$JOB_RESULT_FILE"', None, "regular file"),
        ('ln -s "$JOB_FILE" "$JOB_RESULT_FILE"', None, "cannot be read"),
        ('head -c 32769 /dev/zero > "$JOB_RESULT_FILE"', None, "longer than 32768 bytes"),
        ('head -c 30000 /dev/zero | tr "\\0" "[" > "$JOB_RESULT_FILE"', None, "not JSON"),
        ('rm -rf "$JOB_DIR"', None, ""),
    ],
)
async def test_the_result_file_may_hold_anything(story: "Story", script: str, parsed: object, bad: str) -> None:
    result = await story.run(script)
    assert result.code == 0
    assert result.handler_result == parsed
    assert bad in result.bad_result
    assert bool(bad) == bool(result.bad_result)


def test_an_output_is_written_again_only_when_there_is_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tail = Tail("stdout")
    tail.feed(b"one")
    tail.keep(is_last=False)
    (tmp_path / "stdout").write_bytes(b"as it was")
    tail.keep(is_last=False)
    assert (tmp_path / "stdout").read_bytes() == b"as it was"
    tail.keep(is_last=True)
    assert (tmp_path / "stdout").read_bytes() == b"one"


def test_what_is_written_durably_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(tmp_path)))
        fsync(descriptor)

    def renamed(old: str, new: str) -> None:
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    write_durably(f"{tmp_path}/result.json", b"{}")
    assert done == ["/result.json.new", "rename", ""]
    assert (tmp_path / "result.json").read_bytes() == b"{}"


def test_the_shim_imports_the_standard_library_and_itself() -> None:
    allowed = sys.stdlib_module_names | {"iot_jobs_agent.shim"}
    for path in Path(iot_jobs_agent.shim.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("iot_jobs_agent.shim."), (
                    f"{path.name} imports {name}"
                )
