"""What the status file and systemd's status line say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.commands.status import _text as text
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome, Plan, Step, StepKind
from iot_jobs_agent.core.state import (
    Claiming,
    Delayed,
    Execution,
    Phase,
    Preparing,
    Queue,
    Reporting,
    Running,
    Settings,
    State,
    Stopping,
    Work,
)
from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import status
from iot_jobs_agent.state.status import ERRORS_KEPT, StatusBoard

JOB = ExecutionId("team-a", "job-1", 2)
PLAN = Plan((Step("one", "greet", StepKind.COMMAND), Step("two", "greet", StepKind.COMMAND, input="canary")))


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard("lamp")


def state(*executions: Execution, is_connected: bool = True) -> State:
    queues = {"team-a": Queue(pending=(JOB,), is_known=True)}
    known = {e.id: e for e in executions}
    return State(Settings("me"), is_connected, queues=queues, executions=known, foreign=frozenset({JOB}))


def test_the_line_tells_the_connection_and_how_much_is_under_way(board: StatusBoard) -> None:
    assert board.line(state(is_connected=False)) == "not connected, 0 executions under way"
    assert board.line(state(Execution(JOB, Claiming(PLAN)))) == "connected, 1 executions under way"
    board.degraded = "no disk"
    assert board.line(state()) == "degraded: no disk"


def test_a_connection_has_a_beginning_for_as_long_as_it_lasts(board: StatusBoard) -> None:
    since = board.content(state())["connection"]["since"]
    assert since > 0
    assert board.content(state())["connection"] == {"is_connected": True, "since": since}
    assert board.content(state(is_connected=False))["connection"] == {"is_connected": False, "since": None}


def test_lists_and_what_others_do_are_shown(board: StatusBoard) -> None:
    content = board.content(state())
    assert content["namespaces"] == [{"namespace": "team-a", "pending": [], "left_alone": 1, "is_known": True}]
    assert content["left_alone"] == ["team-a/job-1#2"]
    assert (content["thing_name"], content["pid"]) == ("lamp", os.getpid())


@pytest.mark.parametrize(
    ("phase", "shown"),
    [
        (Claiming(PLAN), {"phase": "claiming"}),
        (Preparing(Work(PLAN, 1)), {"phase": "preparing", "step": "two, 2/2", "attempt": 1}),
        (
            Running(Work(PLAN), progress=5.0, message="x"),
            {"phase": "running", "step": "one, 1/2", "attempt": 1, "progress": 5.0, "message": "x"},
        ),
        (
            Stopping(Work(PLAN), Outcome(ExecutionStatus.CANCELED)),
            {"phase": "stopping", "step": "one, 1/2", "attempt": 1},
        ),
        (
            Delayed(Work(PLAN, number=2), 60.0, {"reason": "tried again in 60 s: busy"}),
            {"phase": "delayed", "step": "one, 1/2", "attempt": 2, "message": "tried again in 60 s: busy"},
        ),
        (Reporting(Outcome(ExecutionStatus.FAILED)), {"phase": "reporting"}),
    ],
    ids=lambda value: value["phase"] if isinstance(value, dict) else "",
)
def test_an_execution_is_shown_without_its_document(board: StatusBoard, phase: Phase, shown: dict[str, Any]) -> None:
    content = board.content(state(Execution(JOB, phase, "greet")))
    assert content["executions"] == [{"execution": "team-a/job-1#2", "operation": "greet", **shown}]
    assert "canary" not in json.dumps(content)


def test_the_last_problems_are_kept(board: StatusBoard) -> None:
    for number in range(ERRORS_KEPT + 5):
        board.add_error("trouble", {"number": number})
    errors = board.content(state())["errors"]
    assert [e["number"] for e in errors] == list(range(5, ERRORS_KEPT + 5))
    assert errors[0]["what"] == "trouble"


@pytest.mark.parametrize(
    ("pending", "left_alone", "words"),
    [
        (None, 0, "no list yet"),
        ([], 0, "nothing pending"),
        (["job-1"], 2, "job-1; 2 left to other agents"),
        ([], 10, "nothing pending; 10 left to other agents, which fill the service's list: what is behind them "),
    ],
)
def test_people_are_told_what_is_pending_and_when_others_fill_the_list(
    pending: list[str] | None, left_alone: int, words: str
) -> None:
    shown = {
        "is_running": True,
        "pid": 1,
        "thing_name": "pi",
        "connection": {"is_connected": False},
        "is_paused": False,
        "degraded": "",
        "namespaces": [
            {"namespace": "", "pending": pending or [], "left_alone": left_alone, "is_known": pending is not None}
        ],
        "executions": [],
        "errors": [],
    }
    [line] = [line for line in text(shown).splitlines() if line.startswith("namespace")]
    assert line.startswith(f"namespace  (default): {words}")


def test_what_was_written_is_read(board: StatusBoard, tmp_path: Path) -> None:
    board.add_error("trouble", {"number": 1})
    for connected in (True, False):
        content = board.content(state(Execution(JOB, Claiming(PLAN), "greet"), is_connected=connected))
        state_directory.write_status(tmp_path, content)
        assert status.read(tmp_path) == content


@pytest.mark.parametrize("damage", ["", "[]", "null", "{}", "connection", "executions", "pid"])
def test_a_status_of_another_form_is_named_and_what_to_do(board: StatusBoard, tmp_path: Path, damage: str) -> None:
    content = board.content(state(Execution(JOB, Claiming(PLAN), "greet")))
    wrong = {"connection": None, "executions": [{}], "pid": "1"}
    text = json.dumps(content | {damage: wrong[damage]}) if damage in wrong else damage
    (tmp_path / state_directory.STATUS).write_text(text)
    with pytest.raises(StateDirectoryError, match=r"is damaged.*: restart the agent"):
        status.read(tmp_path)


def test_a_handler_cannot_command_the_terminal_or_forge_a_line(board: StatusBoard) -> None:
    phase = Running(Work(PLAN), message="\x1b[31mred\x07\nconnection up since yesterday")
    content = board.content(state(Execution(JOB, phase, "greet"))) | {"is_running": True}
    shown = text(content)
    assert [line.split()[0] for line in shown.splitlines()] == [
        "agent",
        "thing",
        "connection",
        "namespace",
        "execution",
    ]
    assert shown.replace("\n", "").isprintable()


def test_field_b4_a_problem_that_comes_again_is_kept_once_with_its_number(board: StatusBoard) -> None:
    board.add_error("other", {})
    for _ in range(12):
        board.add_error("cannot get the pending job executions", {"why": "Thing pi-1 not found"})
    other, again = board.content(state())["errors"]
    assert (other["what"], "times" in other) == ("other", False)
    assert (again["why"], again["times"]) == ("Thing pi-1 not found", 12)
