"""N4, N5: messages that come twice, late, in the wrong order, to somebody else; every refusal, and no answer at all."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from rig import Rig
from tests.faults.budget import CODES

from iot_jobs_simulator.faults.faults import Alter, Crash, Delay, Duplicate, Lose, Reject, Reorder, Silence

KINDS = ["silence", "crash", *CODES]
# Words that blame the request: such a claim is left alone, such a report waits for the next connection.
WRONG = {"InvalidTopic", "InvalidJson", "InvalidRequest", "VersionMismatch"}
# Words that call the execution over.
CLOSED = {"InvalidStateTransition", "ResourceNotFound", "TerminalStateReached"}


async def test_n4_messages_twice_late_reordered_lost_or_forged_start_and_end_each_job_once(
    rig: Rig,
    chance: random.Random,
    is_full: bool,
    count: Callable[[str], None],
) -> None:
    """N4, O, T, L: rounds of jobs, each with a script of five faults of its own."""
    rig.device.sections["aws"]["request_timeout_s"] = 0.5
    rig.device.sections["agent"]["max_concurrent"] = 2
    agent = await rig.start()
    rounds = 200 if is_full else 4
    for number in range(rounds):
        script = [trouble(chance) for _ in range(5)]
        for fault in script:
            rig.sim.faults.add(fault)
        jobs = [f"job-{number}-{each}" for each in range(3)]
        for job in jobs:
            rig.create(job, "note")
        for job in jobs:
            try:
                await rig.ends(job, "SUCCEEDED")
            except (TimeoutError, AssertionError):
                pytest.fail(f"{job} with {script}: {agent.told}")
        rig.sim.faults.clear()
    count(f"N4: {rounds} rounds of 3 jobs with 5 faults each")


def trouble(chance: random.Random) -> Any:
    """One message, or a few, that fare badly."""
    forged = [
        Alter(members={"clientToken": "stale"}, what="reply"),
        Alter(send_to="$aws/things/pi-other/jobs/get/accepted", what="reply"),
        Alter(send_to="$aws/things/pi-1/jobs/job-9/update/accepted", what="reply"),
        Alter(payload="{", what="reply"),
        Alter(members={"timestamp": 1, "execution": None, "inProgressJobs": []}, what="notification"),
    ]
    kinds = [
        Lose(),
        Delay(delay_ms=chance.randrange(1500)),
        Duplicate(copies=chance.randrange(2, 5), gap_ms=chance.randrange(300)),
        Reorder(behind=chance.randrange(1, 4)),
        *forged,
    ]
    return chance.choice(kinds).model_copy(update={"times": chance.randrange(1, 3), "skip": chance.randrange(6)})


async def test_n4_everything_ever_said_replayed_hours_later_changes_nothing(rig: Rig, connect: Any) -> None:
    """N4, O, T: while another job runs, all notifications and replies of the first come again, and another thing's."""
    listener = await connect(rig.sim, rig.thing, client_id="listener")
    await listener.subscribe("notify", "notify-next")
    agent = await rig.start()
    rig.create("first", "note")
    await rig.ends("first", "SUCCEEDED")
    await agent.says("settled", execution="first")
    asked = list(rig.sim.received)
    await rig.sim.advance_clock(3 * 3600)
    rig.create("second", "gated")
    await rig.hears("second begun")
    notifications = [listener.messages.get_nowait() for _ in range(listener.messages.qsize())]
    assert len(notifications) >= 2
    for _ in range(2):
        for name, message in reversed(notifications):
            for thing in (rig.thing, "pi-other"):
                rig.sim.publish(f"$aws/things/{thing}/jobs/{name}", json.dumps(message).encode())
        for topic, payload in asked:
            for answer in ("accepted", "rejected"):
                forged = {"code": "TerminalStateReached", "clientToken": json.loads(payload)["clientToken"]}
                rig.sim.publish(f"{topic}/{answer}", json.dumps(forged).encode())
                rig.sim.publish(f"{topic.replace('first', 'second')}/{answer}", json.dumps(forged).encode())
    rig.create("third", "note")
    rig.open_gate("second")
    await rig.ends("second", "SUCCEEDED")
    await rig.ends("third", "SUCCEEDED")
    rig.is_sound("first")
    assert [update["status"] for update in rig.updates("first")].count("IN_PROGRESS") <= 2


def refusal(kind: str, **about: Any) -> Any:
    """No answer, a failure inside, or a code."""
    fault = {"silence": Silence, "crash": Crash}.get(kind)
    return fault(**about) if fault else Reject(code=kind, **about)


@pytest.fixture
def busy(rig: Rig) -> Rig:
    """Many at a time, and no patience."""
    rig.device.sections["aws"]["request_timeout_s"] = 0.5
    rig.device.sections["agent"]["max_concurrent"] = 16
    return rig


async def test_n5_every_refusal_of_a_look_and_of_a_claim(busy: Rig) -> None:
    """N5, O, T, L: refused, unanswered or broken twice; called our fault once, and left alone; called over once."""
    agent = await busy.start()
    for kind in KINDS:
        times = 1 if kind in WRONG | CLOSED else 2
        busy.sim.faults.add(refusal(kind, operation="DescribeJobExecution", job=f"look-{kind}", times=2))
        busy.sim.faults.add(refusal(kind, operation="UpdateJobExecution", job=f"claim-{kind}", times=times))
        for request in ("look", "claim"):
            busy.create(f"{request}-{kind}", "quiet")
    for kind in KINDS:
        await busy.ends(f"look-{kind}", "SUCCEEDED")
        if kind in WRONG - {"VersionMismatch"}:
            await agent.says("claim refused", execution=f"claim-{kind}")
            busy.is_sound(f"claim-{kind}", starts=0)
        else:
            await busy.ends(f"claim-{kind}", "SUCCEEDED")


async def test_n5_every_refusal_of_progress(busy: Rig) -> None:
    """N5, O, T, L: progress is a courtesy; but if the service calls the execution over, it is stopped, unsaid."""
    agent = await busy.start()
    for kind in KINDS:
        busy.sim.faults.add(refusal(kind, operation="UpdateJobExecution", job=kind, skip=1, times=1))
        busy.create(kind, "gated")
    for kind in KINDS:
        await agent.says("update failed", execution=kind)
        if kind in CLOSED:
            await agent.says("settled", execution=kind)
            assert not busy.outcomes(kind)
        else:
            busy.open_gate(kind)
            await busy.ends(kind, "SUCCEEDED")


async def test_n5_every_refusal_of_a_report(busy: Rig) -> None:
    """N5, O, T, L: told again until it is believed; if the execution is said to be gone, never again."""
    agent = await busy.start()
    for kind in KINDS:
        times = 1 if kind in WRONG | CLOSED else 2
        busy.sim.faults.add(refusal(kind, operation="UpdateJobExecution", job=kind, skip=1, times=times))
        busy.create(kind, "quiet")
    waiting = WRONG - {"InvalidRequest"}  # until the next connect
    for kind in waiting:
        await agent.says("outcome cannot be reported", execution=kind)
    await agent.says("settled", execution="ResourceNotFound", status="REMOVED")
    for kind in set(KINDS) - waiting - {"ResourceNotFound"}:
        await busy.ends(kind, "SUCCEEDED", is_identical=kind not in CLOSED | {"InvalidRequest"})
    await busy.sim.restart_broker()
    for kind in waiting:
        await busy.ends(kind, "SUCCEEDED")
    assert len(busy.outcomes("ResourceNotFound")) == 1
    await busy.sim.advance_clock(7200)  # the timer that the agent set at its claim
    assert busy.status("ResourceNotFound") == "TIMED_OUT"


async def test_n5_every_refusal_of_the_list_and_none_at_all(rig: Rig) -> None:
    """N5, L: the list is asked for again; what notifications name is run meanwhile."""
    rig.device.sections["aws"]["request_timeout_s"] = 0.5
    await rig.start()
    for kind in KINDS:
        number = rig.sim.faults.add(refusal(kind, operation="GetPendingJobExecutions", times=1))
        rig.create(kind, "note")
        await rig.ends(kind, "SUCCEEDED")
        rig.sim.faults.clear(number)


@pytest.mark.parametrize("skip", [0, 1], ids=["claim", "after"])
async def test_n5_field_b1_a_service_that_refuses_whatever_is_reported_is_asked_six_times_in_ten_seconds(
    busy: Rig, skip: int
) -> None:
    """N5, B: the claim, or all updates after it, with each code, for as long as the agent lives."""
    for code in CODES:
        busy.sim.faults.add(Reject(code=code, operation="UpdateJobExecution", job=code, skip=skip))
    await busy.start()
    for code in CODES:
        busy.create(code, "quiet")
    prefixes = {code: f"$aws/things/{busy.thing}/jobs/{code}/" for code in CODES}

    def asked(code: str) -> int:
        return sum(topic.startswith(prefixes[code]) for topic, _ in busy.sim.received)

    most = 6 + 3 * skip  # a description and a claim that is taken, and another description, come before
    with pytest.raises(TimeoutError):
        await busy.sim.wait_until(lambda: any(asked(code) > most for code in CODES), within_s=10)
    assert all(asked(code) for code in CODES)
