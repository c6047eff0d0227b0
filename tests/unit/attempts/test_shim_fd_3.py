"""What a handler says on descriptor 3, as the agent gets it from a real shim."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts.directory import Position, read_progress
from iot_jobs_agent.core.job import AttemptId, ExecutionId
from iot_jobs_agent.shim.said import Said

if TYPE_CHECKING:
    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)


async def test_a_closed_fd_3_does_not_fail_the_attempt(story: "Story") -> None:
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


async def test_bytes_that_are_not_text_and_a_line_of_a_megabyte_are_two_bad_lines(story: "Story") -> None:
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


async def test_the_events_file_starts_over_before_it_fills_the_disk_and_loses_nothing(
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
