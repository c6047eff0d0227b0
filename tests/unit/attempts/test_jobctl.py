import ast
import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent import jobctl
from iot_jobs_agent.core.job import StepKind
from iot_jobs_agent.core.outcome import Followup, followup_of, outcome_of
from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim import protocol

if TYPE_CHECKING:
    from conftest import Story

JOBCTL = f'jobctl() {{ {sys.executable} -I -m iot_jobs_agent.jobctl "$@"; }}; '


async def test_progress_and_details_are_told(story: "Story") -> None:
    result = await story.run(
        JOBCTL + 'jobctl progress 40 copying the rest && jobctl detail slot "B 1" && jobctl progress 50'
    )
    assert result.code == 0
    assert [e.message for e in story.progressed if e.message] == ["copying the rest"]
    assert story.progressed[-1].progress == 50
    assert [e.details for e in story.progressed if e.details] == [{"slot": "B 1"}]


async def test_a_checkpoint_is_kept(story: "Story") -> None:
    await story.run(JOBCTL + "jobctl checkpoint '{\"copied\": 3}'")
    assert (story.job_directory() / "checkpoint.json").read_text() == '{"copied": 3}'


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("reject", "REJECTED", "why not"),
        ("fail", "FAILED", "why not"),
        ("retry", "FAILED", "asked to be tried again beyond its limit: why not"),
        (
            "reboot",
            "FAILED",
            "asked for a reboot, but may_reboot is not true in both its manifest and its configuration: why not",
        ),
    ],
)
async def test_an_outcome_is_one_line_of_shell(story: "Story", command: str, status: str, reason: str) -> None:
    outcome = outcome_of(await story.run(JOBCTL + f'jobctl {command} "why not"; exit 0'))
    assert (outcome.status, outcome.reason) == (status, reason)


async def test_what_begins_with_a_dash_is_text(story: "Story") -> None:
    script = "jobctl detail drift -3ms && jobctl progress 40 --force && jobctl fail -h; exit 0"
    outcome = outcome_of(await story.run(JOBCTL + script))
    assert (outcome.status, outcome.reason) == ("FAILED", "-h")
    assert {k: v for e in story.progressed for k, v in e.details.items()} == {"drift": "-3ms"}
    assert [e.message for e in story.progressed if e.message] == ["--force"]


async def test_a_reason_of_any_length_is_told(story: "Story") -> None:
    script = """jobctl retry "$(head -c 100000 /dev/zero | tr '\\0' '\\001')"; echo $?"""
    result = await story.run(JOBCTL + script)
    assert (result.stdout, followup_of(result)) == ("0\n", Followup.RETRY)


async def test_in_a_plain_command_it_says_that_it_cannot_work(story: "Story") -> None:
    result = await story.run(JOBCTL + "jobctl fail x || jobctl progress 1", kind=StepKind.COMMAND)
    assert result.code == 1
    assert result.stderr.splitlines() == [
        "jobctl: JOB_RESULT_FILE is not set: this works only inside a handler that the agent runs (protocol 1)",
        "jobctl: JOB_CONTROL_FD is not set: this works only inside a handler that the agent runs (protocol 1)",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["progress", "101"], "from 0 to 100"),
        (["progress", "nan"], "from 0 to 100"),
        (["checkpoint", "{"], "not JSON"),
        (["detail", "key", "v" * 5000], "more than the 4096 bytes"),
        (["detail", "key", "value"], "fd 3 cannot be written: Bad file descriptor"),
        (["fail", "reason"], "the result file cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_told_is_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    monkeypatch.setenv("JOB_CONTROL_FD", "987654")
    monkeypatch.setenv("JOB_RESULT_FILE", "/no/such/directory/result")
    assert jobctl.main(arguments) == 1
    assert words in capsys.readouterr().err


WORD = st.sampled_from(["progress", "detail", "checkpoint", "fail", "50", "-1", "nan", "-h", "--help", "--", "", "{}"])


@given(st.lists(WORD | st.text(max_size=4), max_size=4))
def test_what_is_understood_without_argparse_is_what_argparse_understands(words: list[str]) -> None:
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            expected = vars(jobctl.parser().parse_args(words))
    except SystemExit:
        expected = None
    found = jobctl.plainly_asked(words)
    assert repr(found and dict(sorted(found.items()))) == repr(expected and dict(sorted(expected.items()))) or (
        found is None and "--" in words
    )


def test_what_is_right_is_understood_without_argparse() -> None:
    read, write = os.pipe()
    code = (
        "import sys; from iot_jobs_agent.jobctl import main; main(); print({'argparse', 'json', 're'} & {*sys.modules})"
    )
    for words in (["progress", "5", "a", "b"], ["detail", "a", "b"], ["checkpoint", "{}"], ["fail", "why"]):
        command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}", *words]
        environment = {"JOB_CONTROL_FD": str(write), "JOB_RESULT_FILE": "/dev/null"}
        ran = subprocess.run(command, pass_fds=[write], env=environment, check=True, capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == ("set()\n", "")
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read().splitlines() == [
            '{"progress": 5.0, "message": "a b"}',
            '{"details": {"a": "b"}}',
            '{"checkpoint": {}}',
        ]


def test_it_imports_nothing_of_ours_but_what_a_shim_imports_too() -> None:
    imports = [
        n for n in ast.walk(ast.parse(Path(jobctl.__file__).read_text())) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imports]
    assert {name.split(".")[0] for name in names if name} <= {*sys.stdlib_module_names, "iot_jobs_agent"}
    assert {name for name in names if name and name.startswith("iot_jobs")} == {
        "iot_jobs_agent.shim.lean",
        "iot_jobs_agent.shim.protocol",
    }
    assert ast.unparse(ast.parse(Path(protocol.__file__).read_text())).count("import") == 0
