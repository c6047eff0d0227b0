from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus
from iot_jobs_agent.core.outcome import Followup, ending_in_words, followup_of, outcome_of

DONE = AttemptResult(Ending.EXITED, code=0)


def exited(code: int = 0, **members: object) -> AttemptResult:
    return AttemptResult(Ending.EXITED, code=code, **members)


def said(**members: object) -> AttemptResult:
    return exited(handler_result=members)


PLAYBOOK = [
    (exited(), "SUCCEEDED", "", ""),
    (exited(leftovers_killed=2), "SUCCEEDED", "", ""),
    (exited(stderr="a warning"), "SUCCEEDED", "", ""),
    (exited(leftovers_alive=1), "FAILED", "processes-left", "1 process of it could not be killed"),
    (exited(3), "FAILED", "exit-code", "exited with code 3"),
    (exited(3, stderr="one\ntwo \n\n"), "FAILED", "exit-code", "exited with code 3: two"),
    (exited(127, leftovers_alive=2), "FAILED", "exit-code", "exited with code 127"),
    (exited(3, handler_result={"outcome": "succeeded", "reason": "r"}), "FAILED", "exit-code", "exited with code 3: r"),
    (exited(3, handler_result={"outcome": "rejected"}), "FAILED", "exit-code", "exited with code 3"),
    (exited(3, bad_result="not JSON"), "FAILED", "exit-code", "exited with code 3"),
    (AttemptResult(Ending.SIGNALED, signal=9), "FAILED", "signal", "killed by signal 9 (SIGKILL)"),
    (AttemptResult(Ending.SIGNALED, signal=40, stderr="x"), "FAILED", "signal", "killed by signal 40"),
    (AttemptResult(Ending.SIGNALED), "FAILED", "signal", "killed by signal 0"),
    (AttemptResult(Ending.DEADLINE), "FAILED", "deadline", "stopped at its deadline"),
    (AttemptResult(Ending.STOPPED), "FAILED", "stopped", "stopped on a request that was not the agent's"),
    (AttemptResult(Ending.CANNOT_START, reason="no file"), "FAILED", "cannot-start", "could not be started: no file"),
    (AttemptResult(Ending.LOST), "FAILED", "lost", "interrupted"),
    (exited(bad_result="not JSON"), "FAILED", "bad-result", "not JSON"),
    (said(), "SUCCEEDED", "", ""),
    (said(outcome="succeeded", reason="all well"), "SUCCEEDED", "", "all well"),
    (said(outcome="failed", reason="r"), "FAILED", "failed", "r"),
    (said(outcome="failed", reason="r", code="internal-error"), "FAILED", "internal-error", "r"),
    (said(outcome="failed", reason="r", code="lost"), "FAILED", "failed", "r"),
    (said(outcome="rejected"), "REJECTED", "rejected", "the handler gave no reason"),
    (exited(stderr="why", handler_result={"outcome": "rejected"}), "REJECTED", "rejected", "why"),
    (said(outcome="retry", reason="r"), "FAILED", "retry-limit", "asked to be tried again beyond its limit: r"),
    (
        said(outcome="reboot", reason="r"),
        "FAILED",
        "reboot-not-allowed",
        "asked for a reboot, but may_reboot is not true in both its manifest and its configuration: r",
    ),
    (said(outcome="done"), "FAILED", "bad-result",
     "the result file's outcome is none of succeeded, failed, rejected, retry, reboot"),
    (said(outcome=["failed"]), "FAILED", "bad-result",
     "the result file's outcome is none of succeeded, failed, rejected, retry, reboot"),
    (said(reason=1), "FAILED", "bad-result", "the result file's reason is not a string"),
    (said(details=[]), "FAILED", "bad-result", "the result file's details are not an object"),
]  # fmt: skip


@pytest.mark.parametrize(("result", "status", "code", "reason"), PLAYBOOK)
def test_an_ending_means_what_the_contract_says(result: AttemptResult, status: str, code: str, reason: str) -> None:
    outcome = outcome_of(result)
    assert (outcome.status, outcome.code, outcome.reason) == (status, code, reason)


@pytest.mark.parametrize(
    "result",
    [
        replace(said(outcome="retry"), leftovers_alive=1),
        replace(said(outcome="retry"), code=1),
        replace(said(outcome="reboot"), ending=Ending.SIGNALED),
        replace(said(outcome="reboot"), bad_result="torn"),
        said(outcome="reboot", details=3),
        said(outcome="failed"),
        AttemptResult(Ending.EXITED, code=0),
    ],
)
def test_who_did_not_end_well_has_no_wish(result: AttemptResult) -> None:
    assert followup_of(result) is None


@pytest.mark.parametrize("wish", list(Followup))
def test_a_wish_is_heard(wish: Followup) -> None:
    assert followup_of(said(outcome=wish.value, reason="r")) is wish


@pytest.mark.parametrize(
    ("allowed", "lines", "code"), [(None, 9, ""), (0, 0, ""), (0, 1, "stderr"), (2, 2, ""), (2, 3, "stderr")]
)
def test_a_success_may_have_as_many_lines_on_stderr_as_it_is_allowed(
    allowed: int | None, lines: int, code: str
) -> None:
    outcome = outcome_of(exited(stderr_lines=lines, handler_result={"details": {"a": "b"}}), allow_stderr=allowed)
    assert (outcome.status, outcome.code) == ("FAILED" if code else "SUCCEEDED", code)
    assert outcome.details == {"a": "b"}


def test_too_much_on_stderr_is_told_with_the_last_line() -> None:
    one, many = exited(stderr_lines=1), exited(stderr_lines=3, stderr="cut\nlast words\n")
    reason = "exited with code 0, but wrote {} to stderr, more than allowStdErr permits"
    assert outcome_of(one, allow_stderr=0).reason == reason.format("1 line")
    assert outcome_of(many, allow_stderr=2).reason == reason.format("3 lines") + ": last words"


@pytest.mark.parametrize("result", [exited(3), said(outcome="rejected", reason="r"), AttemptResult(Ending.LOST)])
def test_allowed_lines_on_stderr_make_nothing_a_success(result: AttemptResult) -> None:
    assert outcome_of(result, allow_stderr=1000) == outcome_of(result)


def test_details_are_kept_as_text_whatever_the_ending() -> None:
    details = {"slot": "B", "n": 1, "o": {"p": None}}
    told = {"slot": "B", "n": "1", "o": '{"p": null}'}
    assert outcome_of(said(details=details)).details == told
    assert outcome_of(exited(1, handler_result={"details": details})).details == told
    assert outcome_of(exited(1, handler_result={"details": 1})).details == {}


def test_details_nested_too_deeply_break_nothing() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert outcome_of(said(details={"a": deep})).details == {"a": "nested too deeply"}


@given(
    st.builds(
        AttemptResult,
        ending=st.sampled_from(Ending),
        code=st.none() | st.integers(0, 255),
        leftovers_alive=st.integers(0, 2),
        bad_result=st.sampled_from(["", "bad"]),
        handler_result=st.none() | st.dictionaries(st.sampled_from(["outcome", "reason", "details"]), st.text()),
    )
)
def test_only_an_exit_with_0_and_nothing_left_alive_succeeds(result: AttemptResult) -> None:
    outcome = outcome_of(result)
    if outcome.status is ExecutionStatus.SUCCEEDED:
        assert (result.ending, result.code, result.leftovers_alive, result.bad_result) == (Ending.EXITED, 0, 0, "")
    else:
        assert outcome.reason
        assert outcome.code


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (exited(3, duration_s=1.26), "exited with code 3 after 1.3 s"),
        (exited(leftovers_killed=1, notes=("n",)),
         "exited with code 0 after 0.0 s; 1 process left behind and killed; n"),
        (AttemptResult(Ending.DEADLINE, duration_s=9, leftovers_alive=2),
         "stopped at its deadline after 9.0 s; 2 processes could not be killed"),
        (AttemptResult(Ending.LOST, leftovers_killed=2), "interrupted; 2 processes left behind and killed"),
        (AttemptResult(Ending.CANNOT_START), "could not be started"),
    ],
)  # fmt: skip
def test_an_ending_is_told_in_words(result: AttemptResult, words: str) -> None:
    assert ending_in_words(result) == words


@pytest.mark.parametrize("word", ["succeeded", "failed", "rejected", "retry", "reboot"])
def test_field_d5_what_a_handler_says_is_cut_to_what_can_be_told(word: str) -> None:
    said = {"outcome": word, "reason": "x" * 64_000, "details": {"k" * 2_000: "v" * 64_000, "n": ["v" * 64_000]}}
    outcome = outcome_of(AttemptResult(Ending.EXITED, code=0, handler_result=said, stderr="y" * 64_000))
    assert len(outcome.reason) <= 1200
    assert sum(len(key) + len(value) for key, value in outcome.details.items()) <= 4 * 1024


def test_field_d5_the_last_line_on_stderr_is_cut_as_well() -> None:
    outcome = outcome_of(AttemptResult(Ending.EXITED, code=3, stderr="y" * 64_000))
    assert len(outcome.reason) <= 1200
