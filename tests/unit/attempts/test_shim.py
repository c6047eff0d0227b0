"""What becomes of a handler under the shim: real processes, seen through what the agent is told."""

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
from iot_jobs_agent.attempts.directory import Position, read_progress
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, StepKind
from iot_jobs_agent.shim.files import write_durably
from iot_jobs_agent.shim.said import Said
from iot_jobs_agent.shim.supervisor import Tail

if TYPE_CHECKING:
    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
ORPHAN = "setsid sh -c 'setsid sleep 1000 & echo $! > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; "
STUBBORN = "trap '' TERM; echo '{\"message\": \"up\"}' >&3; while :; do sleep 1000; done"


@pytest.mark.parametrize("code", [0, 1, 3, 100, 127, 255])
async def test_an_exit_code_is_told_verbatim(story: "Story", code: int) -> None:
    result = await story.run(f"exit {code}")
    assert (result.ending, result.code, result.signal) == (Ending.EXITED, code, None)


@pytest.mark.parametrize(
    ("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15), ("ABRT", 6), ("PIPE", 13), ("HUP", 1)]
)
async def test_a_death_by_signal_is_no_exit(story: "Story", name: str, number: int) -> None:
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


async def test_what_a_handler_leaves_behind_is_swept_and_counted(story: "Story") -> None:
    result = await story.run(ORPHAN + "exit 0")
    assert (result.ending, result.code, result.leftovers_killed, result.leftovers_alive) == (Ending.EXITED, 0, 2, 0)
    assert not story.alive()


async def test_a_child_without_token_that_keeps_the_pipes_open_blocks_nothing(story: "Story") -> None:
    result = await story.run(
        "env -i setsid /bin/sh -c 'echo $$ >pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; echo done"
    )
    assert (result.code, result.leftovers_killed, result.stdout) == (0, 1, "done\n")
    assert not Path("/proc", (story.job_directory() / "pid").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("script", "lines"),
    [("true", 0), ("echo; echo", 2), ("printf 'a\nb'", 2), ("seq 100000", 100_000), ("head -c 100000 /dev/zero", 1)],
)
async def test_all_lines_on_stderr_are_counted_not_only_those_that_are_kept(
    story: "Story", script: str, lines: int
) -> None:
    result = await story.run(f"{{ {script}; }} >&2; echo out")
    assert (result.stderr_lines, result.stdout) == (lines, "out\n")


async def test_the_end_is_noticed_at_once_whatever_keeps_the_pipes_open(
    story: "Story", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iot_jobs_agent.attempts.directory.QUOTA_EVERY_S", 1000.0)  # all else is looked at in 30 s
    result = await story.run("sleep 1000 &")
    assert (result.leftovers_killed, result.duration_s < 20) == (1, True)


async def test_a_lot_of_stderr_while_stdout_is_open_hangs_nothing(story: "Story") -> None:
    result = await story.python("import sys; sys.stderr.write('e' * 204800 + 'end'); sys.stderr.flush(); print('out')")
    assert (result.code, result.stdout) == (0, "out\n")
    assert result.stderr == "e" * (65536 - 3) + "end"


async def test_ten_megabytes_of_output_cost_no_more_than_their_tail(story: "Story") -> None:
    result = await story.python("import sys\nfor i in range(10): sys.stdout.write(str(i) * 1048576)\nprint('end')")
    assert result.stdout == "9" * (65536 - 4) + "end\n"
    assert (story.directory() / "stdout").stat().st_size == 65536


async def test_output_that_is_no_text_is_no_reason_to_fail(story: "Story") -> None:
    result = await story.run(r"printf '\377\000a'; exit 0")
    assert (result.code, result.stdout) == (0, "\ufffd\0a")


async def test_a_closed_fd_3_is_no_reason_to_fail(story: "Story") -> None:
    assert (await story.run("exec 3>&- 1>&- 2>&-; exit 0")).code == 0


async def test_what_is_said_on_fd_3_is_told(story: "Story") -> None:
    line = '{"progress": 40, "message": "copying", "details": {"slot": "B", "n": 1, "o": {"p": null}}, "other": 1}'
    await story.run(f"echo '{line}' >&3; printf '{{\"progress\": 41.5}}' >&3")
    assert story.progressed[0].message == "copying"
    assert story.progressed[-1].progress == 41.5
    assert {k: v for e in story.progressed for k, v in e.details.items()} == {"slot": "B", "n": "1", "o": '{"p": null}'}


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[1]",
        '{"progress": "40"}',
        '{"progress": true}',
        '{"progress": 101}',
        '{"progress": NaN}',
        '{"extend_s": 1e400}',
        '{"extend_s": -1}',
        '{"message": 1}',
        '{"details": []}',
        '{"progress": ' + "9" * 4000 + "}",
        '{"a": ' + "[" * 4000 + "}",
        '{"message": "' + "a" * 4096 + '"}',
    ],
)
async def test_a_malformed_line_is_noted_and_never_fatal(story: "Story", line: str) -> None:
    result = await story.run(
        'cat >&3; cat "$JOB_FILE" >&3; echo >&3; echo \'{"message": "after"}\' >&3', input=line + "\n"
    )
    assert result.code == 0
    assert len(result.notes) == 1
    assert "a line on fd 3 was ignored" in result.notes[0]
    assert [e.message for e in story.progressed] == ["after"]


@pytest.mark.parametrize("line", ['{"details": {"a": %s}}', '{"checkpoint": %s}'])
async def test_a_value_too_deep_for_some_versions_of_python_is_noted_there_and_never_fatal(
    story: "Story", line: str
) -> None:
    said = line % ("[" * 2000 + "]" * 2000)
    result = await story.run(
        'cat >&3; cat "$JOB_FILE" >&3; echo >&3; echo \'{"message": "after"}\' >&3', input=said + "\n"
    )
    assert result.code == 0
    assert len(result.notes) == (sys.version_info < (3, 12))
    assert [e.message for e in story.progressed if e.message] == ["after"]


async def test_bytes_that_are_no_text_and_a_line_of_a_megabyte_are_two_bad_lines(story: "Story") -> None:
    result = await story.python(
        "import os\nos.write(3, b'\\xff\\n')\nwith open(3, 'wb', closefd=False) as f:\n"
        " f.write(b'x' * 1048576 + b'\\n' + b'{\"message\": \"after\"}\\n')\n"
    )
    assert (result.code, len(result.notes)) == (0, 2)
    assert story.progressed[-1].message == "after"


async def test_a_flood_on_fd_3_fills_no_disk_and_loses_no_last_word(story: "Story") -> None:
    result = await story.python(
        "with open(3, 'w', closefd=False) as f:\n"
        ' for i in range(100000): print(\'{"progress": %d, "details": {"k%d": "v"}}\' % (i % 100, i % 30), file=f)\n'
        ' print(\'{"message": "last"}\', file=f)\n'
    )
    assert result.code == 0
    assert (story.progressed[-1].message, story.progressed[-1].progress) == ("last", 99.0)
    assert (story.directory() / "events.jsonl").stat().st_size < 262144 + 8192
    assert len({k for e in story.progressed for k in e.details}) == 30


async def test_events_are_started_anew_before_they_fill_the_disk_and_nothing_of_them_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("iot_jobs_agent.shim.said.EVENTS_BYTES", 500)
    said, position, details = Said(str(tmp_path / "nobody-listens")), Position(), {}
    for number in range(100):
        said.add({"progress": number, "details": {f"k{number % 9}": str(number)}})
        said.flush(now=number)
        assert (tmp_path / "events.jsonl").stat().st_size < 1000
        if number % 7 == 0:  # a reader that comes now and then
            event, position = read_progress(tmp_path, ATTEMPT, position)
            assert event is not None
            assert event.progress == number
            details |= event.details
    assert details == {f"k{n % 9}": str(n) for n in range(90, 99)}


async def test_details_have_a_limit_that_is_said(story: "Story") -> None:
    result = await story.python(
        "with open(3, 'w', closefd=False) as f:\n"
        ' for i in range(10): print(\'{"details": {"k%d": "%s"}}\' % (i, \'v\' * 2000), file=f)\n'
    )
    assert result.notes == ("details beyond 8192 bytes were dropped",)
    assert len({k for e in story.progressed for k in e.details}) == 4


async def test_half_a_surrogate_pair_on_fd_3_costs_nothing_else_that_was_said(story: "Story") -> None:
    line = r'{"progress": 40, "message": "a\ud800", "details": {"\ud800": "\udcff"}}'
    result = await story.python(f"import os; os.write(3, {line.encode()!r} + b'\\n')")
    assert (result.code, result.notes) == (0, ())
    (said,) = story.progressed
    assert (said.progress, said.message, said.details) == (40, "a?", {"?": "?"})


async def test_details_are_counted_in_bytes_of_utf_8(story: "Story") -> None:
    result = await story.python(
        "f = open(3, 'w', encoding='utf-8')\n"
        'for i in range(4): print(\'{"details": {"k%d": "%s"}}\' % (i, \'\u20ac\' * 650), file=f)\n'
    )
    assert result.notes == ()
    assert {k: len(v) for e in story.progressed for k, v in e.details.items()} == {f"k{n}": 650 for n in range(4)}


async def test_a_checkpoint_lies_in_the_jobs_directory(story: "Story") -> None:
    await story.run('echo \'{"checkpoint": {"copied": 3}}\' >&3; echo \'{"checkpoint": {"copied": 4}}\' >&3')
    assert json.loads((story.job_directory() / "checkpoint.json").read_text()) == {"copied": 4}


async def test_the_deadline_ends_a_handler_that_is_deaf_to_sigterm(story: "Story") -> None:
    result = await story.run(ORPHAN + STUBBORN, timeout_s=0.3, grace_s=0.2)
    assert (result.ending, result.code, result.leftovers_alive) == (Ending.DEADLINE, None, 0)
    assert result.duration_s >= 0.5
    assert not story.alive()


async def test_an_exit_0_that_the_deadline_asked_for_is_no_success(story: "Story") -> None:
    result = await story.run("trap 'exit 0' TERM; while :; do sleep 0.01; done", timeout_s=0.2)
    assert (result.ending, result.code) == (Ending.DEADLINE, None)
    assert result.duration_s < 4


async def test_the_grace_is_for_the_whole_family(story: "Story") -> None:
    up = 'echo \'{"message": "up"}\' >&3'
    script = f"(trap 'sleep 0.2; echo saved; exit' TERM; {up}; while :; do sleep 0.01; done) & wait"
    story.start(script, max_timeout_s=20)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    assert (await story.ended()).stdout == "saved\n"


async def test_a_stopped_process_meets_its_deadline_too(story: "Story") -> None:
    result = await story.run("kill -STOP $$; exit 0", timeout_s=0.2)
    assert result.ending is Ending.DEADLINE


async def test_a_program_whose_first_thread_has_ended_is_alive_and_is_stopped(story: "Story") -> None:
    threads = (
        "import ctypes, os, threading; go_on = threading.Event()\n"
        'threading.Thread(target=lambda: (os.write(3, b\'{"message": "up"}\\n\'), go_on.wait())).start()\n'
        "ctypes.CDLL(None).pthread_exit(0)"
    )
    story.start("", argv=(sys.executable, "-I", "-c", threads), grace_s=0.0)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.leftovers_alive, story.alive()) == (Ending.STOPPED, 0, [])


async def test_a_zombie_that_its_parent_left_costs_no_grace(story: "Story") -> None:
    parent = (
        "import os, signal\n"
        "if os.fork() == 0: os._exit(0)\n"
        'os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); os.write(3, b\'{"message": "up"}\\n\'); signal.pause()'
    )
    story.start("", argv=(sys.executable, "-I", "-c", parent), grace_s=600.0)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.leftovers_killed, result.leftovers_alive) == (Ending.STOPPED, 0, 0)


async def test_an_extension_moves_the_deadline_up_to_the_longest_allowed(story: "Story") -> None:
    result = await story.run("echo '{\"extend_s\": 600}' >&3; sleep 1000", timeout_s=0.4, max_timeout_s=0.8)
    assert result.ending is Ending.DEADLINE
    assert 0.8 <= result.duration_s < 4
    (event,) = story.progressed
    assert event.extend_s is not None
    assert 0 < event.extend_s <= 0.8


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
