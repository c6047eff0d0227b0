"""The service's clock, and the timer that goes by it."""

import time

import pytest

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.clock import Clock
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.refusals import Refused
from iot_jobs_simulator.service import Service

NOON = 1_764_590_400.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The machine's time, in a list of one that a test changes."""
    now = [NOON]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_a_frozen_clock_stands_still_and_goes_on_from_there(machine: list[float]) -> None:
    clock = Clock()
    clock.freeze()
    machine[0] += 100
    assert (clock.now(), clock.is_frozen) == (NOON, True)
    clock.unfreeze()
    machine[0] += 5
    assert (clock.now(), clock.is_frozen) == (NOON + 5, False)


def test_a_frozen_clock_is_put_forward_by_exactly_so_much(machine: list[float]) -> None:
    clock = Clock()
    clock.put_forward(10)
    clock.freeze()
    machine[0] += 3
    clock.freeze()
    clock.put_forward(60)
    assert clock.now() == NOON + 70
    clock.unfreeze()
    clock.unfreeze()
    machine[0] += 1
    assert clock.now() == NOON + 71


def test_a_frozen_clock_goes_back_no_more_than_another(machine: list[float]) -> None:
    clock = Clock()
    clock.freeze()
    with pytest.raises(Refused, match="not beyond the year 2199"):
        clock.put_forward(1e10)
    with pytest.raises(Refused):
        clock.put_forward(-1)
    assert clock.now() == NOON


async def test_no_timer_runs_while_the_clock_stands_still() -> None:
    service = Service(
        JobStore(settings=ServiceSettings(rollout_delay_s=3600)),
        clock=Clock(),
        changes=Changes(),
        endpoints={},
        publish=lambda _: None,
        on_thing_created=lambda _: None,
    )
    service.freeze_clock(is_frozen=True)
    arn = service.answer_operator("CreateThing", {"thingName": "lamp"})["thingArn"]
    service.answer_operator("CreateJob", {"jobId": "J1", "targets": [arn], "document": "{}"})
    assert service._timer is None
    service.freeze_clock(is_frozen=False)
    assert service._timer is not None
    service.stop()
