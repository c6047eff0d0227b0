"""JSON as it is written. How it is read is tested with the requests."""

from __future__ import annotations

import pytest

from iot_jobs_simulator import payloads
from iot_jobs_simulator.jobs.views import Verbatim


def test_verbatim_text_goes_in_wherever_it_stands() -> None:
    number = Verbatim("1e400 ")
    assert (
        payloads.encode({"a": [1, number, {"b": number}], "c": "\u00e9"})
        == '{"a":[1,1e400 ,{"b":1e400 }],"c":"\\u00e9"}'
    )


def test_a_value_that_is_not_json_is_our_own_mistake() -> None:
    with pytest.raises(TypeError):
        payloads.encode({"a": object()})
