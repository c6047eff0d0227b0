"""What is wrong with a Python handler's params, in plain words: which field, what it should be, no value."""

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from iot_jobs_agent.wrong_fields import wrong_params

CANARY = "canary-5e1d"


class Slot(Enum):
    A = "a"
    B = "b"


class Part(BaseModel):
    url_2: str = "u"


class Params(BaseModel, extra="forbid"):
    retries: int = 1
    share: float = 0.5
    is_dry: bool = False
    note: str = "n"
    parts: list[Part] = Field(default_factory=list, max_length=2)
    labels: dict[str, int] = Field(default_factory=dict)
    size: Annotated[int, Field(ge=1, le=9)] = 1
    ratio: Annotated[float, Field(gt=0, lt=1, multiple_of=0.25)] = 0.5
    name: str = Field(default="ab", min_length=2, max_length=3, pattern="^[a-z]+$")
    hosts: tuple[str, ...] = Field(default=("h",), min_length=1)
    mode: Literal["fast", "safe"] = "safe"
    slot: Slot = Slot.A
    even: int = 2
    none: None = None

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even; add one")
        return value


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("retries", CANARY, "retries: should be a whole number, and is a string"),
        ("retries", 1.5, "retries: should be a whole number, and is a number with a fraction"),
        ("retries", None, "retries: should be a whole number, and is null"),
        ("share", [CANARY], "share: should be a number, and is an array"),
        ("is_dry", CANARY, "is_dry: should be true or false, and is a string"),
        ("note", 5, "note: should be a string, and is a number"),
        ("note", True, "note: should be a string, and is a boolean"),
        ("parts", CANARY, "parts: should be an array, and is a string"),
        ("parts", [CANARY], "parts[0]: should be an object, and is a string"),
        ("parts", [{}, {"url_2": {}}], "parts[1].url_2: should be a string, and is an object"),
        ("parts", [{}, {}, {}], "parts: should have at most 2 items"),
        ("labels", [], "labels: should be an object, and is an array"),
        ("labels", {CANARY: "x"}, "labels.*: should be a whole number, and is a string"),
        ("size", 0, "size: should be at least 1"),
        ("size", 10, "size: should be at most 9"),
        ("ratio", 0, "ratio: should be more than 0.0"),
        ("ratio", 1, "ratio: should be less than 1.0"),
        ("ratio", 0.3, "ratio: should be a multiple of 0.25"),
        ("name", "a", "name: should have at least 2 characters"),
        ("name", "abcd", "name: should have at most 3 characters"),
        ("name", "A-B", "name: should match the pattern ^[a-z]+$"),
        ("hosts", [], "hosts: should have at least 1 item"),
        ("mode", CANARY, "mode: should be 'fast' or 'safe'"),
        ("slot", CANARY, "slot: should be 'a' or 'b'"),
        ("even", 3, "even: must be even; add one"),
        ("none", 3, "none: should be null, and is a number"),
        ("retry", 3, "retry: is not known to the handler; leave it out"),
        (CANARY, 3, "*: is not known to the handler; leave it out"),
    ],
)
def test_a_wrong_field_is_told_in_plain_words_without_its_value(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Params.model_validate_json(json.dumps({field: value}))
    told = wrong_params(caught.value, Params.model_json_schema())
    assert told == f"params.{words}"
    assert CANARY not in told
