import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.core.details import LIMIT, StatusFacts, legal, status_details, units

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text(min_size=1, max_size=5).map(
    lambda text: (text * 1030)[:1030]
)


def is_legal(value: str) -> bool:
    return 1 <= units(value) <= LIMIT and not any(unicodedata.category(each).startswith("C") for each in value)


@given(ANY_TEXT, st.booleans())
def test_any_text_becomes_one_that_the_service_accepts(text: str, keeps_end: bool) -> None:
    assert is_legal(legal(text, keeps_end=keeps_end))


@given(ANY_TEXT)
def test_what_is_legal_stays_as_it_is(text: str) -> None:
    once = legal(text)
    assert legal(once) == once


def test_line_breaks_and_escapes_become_single_spaces() -> None:
    assert legal("a\r\n\tb\x1b[31m \u200b\ud800c ") == "a b [31m c"


def test_nothing_is_told_as_a_dash() -> None:
    assert legal("\n\0") == "-"


def test_of_a_long_text_the_beginning_stays_and_of_output_the_end() -> None:
    assert legal("a" * 1024) == "a" * 1024
    assert legal("a" * 1024 + "b") == "a" * 1023 + "…"
    assert legal("a" + "b" * 1024, keeps_end=True) == "…" + "b" * 1023
    assert legal("😀" * 513) == "😀" * 511 + "…"


@given(
    st.builds(
        StatusFacts,
        agent=ANY_TEXT,
        operation=ANY_TEXT,
        step_name=ANY_TEXT,
        progress=st.none() | st.floats(0, 100),
        message=ANY_TEXT,
        result=ANY_TEXT,
        reason=ANY_TEXT,
        stdout=ANY_TEXT,
        stderr=ANY_TEXT,
        details=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=5),
        steps=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=5).map(tuple),
    )
)
def test_whatever_is_told_makes_at_most_ten_legal_pairs(told: StatusFacts) -> None:
    details = status_details(told)
    assert len(details) <= 10
    assert all(is_legal(value) for value in details.values())
    if told.details:
        assert isinstance(json.loads(details["details"]), dict)


def test_all_ten_are_written_for_people() -> None:
    told = StatusFacts(
        agent="a1",
        operation="update",
        step_name="copy",
        step=1,
        step_count=3,
        attempt=2,
        progress=40.0,
        message="copying",
        result="exited with code 3",
        reason="no space",
        stdout="one\ntwo\n",
        stderr="three",
        details={"slot": "B\n"},
        steps=(("fetch", "succeeded"), ("copy", "failed")),
    )
    assert status_details(told) == {
        "agent": "a1",
        "operation": "update",
        "step": "copy, 2/3, attempt 2",
        "progress": "40 % copying",
        "result": "exited with code 3",
        "reason": "no space",
        "stdout": "one two",
        "stderr": "three",
        "details": '{"slot":"B"}',
        "steps": "fetch=succeeded, copy=failed",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert status_details(StatusFacts()) == {}


def test_a_message_without_a_number_is_progress_too() -> None:
    assert status_details(StatusFacts(message="waiting")) == {"progress": "waiting"}


def test_details_too_long_say_how_many_are_missing() -> None:
    details = status_details(StatusFacts(details={"a": "x" * 900, "b": "y" * 200, "c": "z"}))["details"]
    assert json.loads(details) == {"a": "x" * 900, "…": "2 more"}
