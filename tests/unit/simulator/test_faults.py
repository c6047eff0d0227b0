"""Which piece of trouble is due: the filters, without any network."""

from typing import Any

import pytest

from iot_jobs_simulator.faults.faults import (
    Disconnect,
    Fault,
    Faults,
    ListenerName,
    Lose,
    Rate,
    Reject,
    TrafficEvent,
)
from iot_jobs_simulator.faults.injection import HeldMessages

ABOUT_A = dict[str, Any](
    operation="UpdateJobExecution", thing="a", client_id="a", listener=ListenerName.MQTT, what="reply", job="a"
)


@pytest.mark.parametrize(
    ("kind", "filters", "event"),
    [
        *((Lose, {name: value}, ABOUT_A) for name, value in ABOUT_A.items()),
        (Lose, {"topic": "things/+/jobs"}, {"topic": "things/a/jobs"}),
        (Disconnect, {"packet": "PUBLISH"}, {"packet": "PUBLISH"}),
        (Disconnect, {"direction": "in"}, {"direction": "in"}),
        (Rate, {"of": "connects", "per_second": 0}, {"of": "connects"}),
    ],
)
def test_a_filter_lets_its_own_events_through_and_no_others(
    kind: type[Fault], filters: dict[str, Any], event: dict[str, Any]
) -> None:
    faults = Faults()
    faults.add(kind(**filters))
    name = next(iter(filters))
    other = "publishes" if name == "of" else "other"
    assert faults.take(TrafficEvent(**event | {name: other}), kind) is None
    assert faults.take(TrafficEvent(**event), kind) is not None


def test_the_first_fault_added_acts_alone() -> None:
    faults = Faults()
    first, second = Reject(code="InvalidRequest", times=1), Reject(code="RequestThrottled")
    faults.add(first)
    faults.add(second)
    assert [faults.take(TrafficEvent(), Reject) for _ in range(3)] == [first, second, second]


def test_clearing_sends_what_is_held_back_in_order() -> None:
    sent: list[str] = []
    held = HeldMessages()
    faults = Faults(on_cleared=held.send_all)
    held.hold("a", 2, lambda: sent.append("first"))
    held.hold("b", 1, lambda: sent.append("second"))
    held.count_sent("a")
    assert sent == []
    held.count_sent("b")
    assert sent == ["second"]
    faults.clear()
    assert sent == ["second", "first"]
    faults.clear()
    assert sent == ["second", "first"]
