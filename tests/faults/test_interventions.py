"""N6: somebody ends the execution in the cloud, at every moment of its life."""

from collections.abc import Callable
from typing import Any

from agents import AgentProcess
from rig import Rig, alive

from iot_jobs_simulator.faults.faults import Silence

IN_PROGRESS_MINUTES = 1

# Each ends the pending execution of a job; what the service calls it then (None: it has it no more).
INTERVENTIONS: dict[str, str | None] = {
    "cancel": "CANCELED",
    "force-cancel": "CANCELED",
    "cancel-execution": "CANCELED",
    "delete": None,
    "delete-execution": None,
    "group-removal": "REMOVED",
    "time-out": "TIMED_OUT",
}


async def intervene(pi: Rig, how: str, job: str) -> None:
    operate = pi.sim.operate
    match how:
        case "cancel" | "force-cancel":
            operate("CancelJob", jobId=job, force=how == "force-cancel")
        case "cancel-execution":
            operate("CancelJobExecution", jobId=job, thingName=pi.thing, force=True)
        case "delete":
            operate("DeleteJob", jobId=job, force=True)
        case "delete-execution":
            operate("DeleteJobExecution", jobId=job, thingName=pi.thing, executionNumber=1, force=True)
        case "group-removal":
            operate("RemoveThingFromThingGroup", thingGroupName=job, thingName=pi.thing)
        case "time-out":
            await pi.sim.advance_clock(60 * IN_PROGRESS_MINUTES + 1)


def create(pi: Rig, how: str, job: str, operation: str) -> None:
    """Create a job that this intervention can end."""
    members: dict[str, Any] = {}
    if how == "group-removal":
        members["target"] = pi.sim.operate("CreateThingGroup", thingGroupName=job)["thingGroupArn"]
        members["targetSelection"] = "CONTINUOUS"
        pi.sim.operate("AddThingToThingGroup", thingGroupName=job, thingName=pi.thing)
    if how == "time-out":
        members["timeoutConfig"] = {"inProgressTimeoutInMinutes": IN_PROGRESS_MINUTES}
    pi.create(job, operation, **members)


async def test_n6_an_execution_ended_in_the_cloud_at_any_moment_is_stopped_whole_and_nothing_is_told(
    rigs: Callable[..., Any], together: Callable[..., Any]
) -> None:
    """N6, T, P: an agent with one slot for each way; after each case the next execution looks who is alive."""
    await together([lives(await rigs(how), how) for how in INTERVENTIONS])


async def lives(rig: Rig, how: str) -> None:
    agent = await rig.start()
    for moment in MOMENTS:
        if (how, moment.__name__) in IMPOSSIBLE:
            continue
        job = moment.__name__
        told = await moment(rig, agent, how, job)
        assert len(rig.outcomes(job)) == told, (job, rig.outcomes(job))
        assert rig.status(job) == INTERVENTIONS[how], (job, rig.status(job))
        rig.create(f"look-{job}", "look")
        await rig.sim.wait_for_status(rig.thing, f"look-{job}", "SUCCEEDED", within_s=30)
        assert not (rig.directory / "overlap").exists(), (rig.directory / "overlap").read_text()
        assert len(rig.outcomes(job)) == told, "told after the agent knew better"
        rig.is_sound(job, starts=rig.ledger.count(f"{job}#1.0.1"))
    assert max(map(rig.ledger.count, rig.ledger)) == 1


# The moments. Each brings a job there, lets it be ended, and returns how many outcomes the agent told before it knew.


async def queued(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """Another execution holds the slot."""
    pi.create(f"before-{job}-{how}", "gated")
    await pi.hears(f"before-{job}-{how} begun")
    create(pi, how, job, "note")
    await intervene(pi, how, job)
    pi.open_gate(f"before-{job}-{how}")
    await pi.ends(f"before-{job}-{how}", "SUCCEEDED")
    assert f"{job}#1.0.1" not in pi.ledger
    return 0


async def claimed(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """The claim was accepted; the fresh document is being asked for."""
    number = pi.sim.faults.add(Silence(operation="DescribeJobExecution", job=job, skip=1))
    create(pi, how, job, "note")
    await agent.says("claimed", execution=job)
    await intervene(pi, how, job)
    pi.sim.faults.clear(number)
    await agent.says("settled", execution=job)
    assert f"{job}#1.0.1" not in pi.ledger
    return 0


async def running(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """A family that is deaf to SIGTERM is at work."""
    create(pi, how, job, "stubborn")
    _, _, *pids = await pi.hears(f"{job} begun")
    await intervene(pi, how, job)
    await agent.says("settled", execution=job)
    assert not alive(pids)
    return 0


async def stopping(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """The same, and while it is being stopped the list no longer names it, once more."""
    create(pi, how, job, "stubborn")
    _, _, *pids = await pi.hears(f"{job} begun")
    await intervene(pi, how, job)
    await agent.says("stopping", execution=job)
    pi.sim.publish(f"$aws/things/{pi.thing}/jobs/notify", b'{"timestamp": 1, "jobs": {}}')
    await agent.says("settled", execution=job)
    assert not alive(pids)
    return 0


async def waiting(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """The handler asked for another try, and others have the slot."""
    create(pi, how, job, "busy")
    await agent.says("delayed", execution=job)
    await intervene(pi, how, job)
    await agent.says("settled", execution=job)
    return 0


async def unreported(pi: Rig, agent: AgentProcess, how: str, job: str) -> int:
    """The handler has ended; its outcome was told and nobody has heard it."""
    create(pi, how, job, "gated")
    await pi.hears(f"{job} begun")
    number = pi.sim.faults.add(Silence(operation="UpdateJobExecution", job=job))
    pi.open_gate(job)
    await agent.says("succeeded", execution=job)
    await agent.says("update failed", execution=job)
    await intervene(pi, how, job)
    pi.sim.faults.clear(number)
    await agent.says("settled", execution=job)
    return len(pi.outcomes(job))


# To add a moment: a coroutine like those above, named here.
MOMENTS: tuple[Callable[..., Any], ...] = (queued, claimed, running, stopping, waiting, unreported)
# A job's own timer does not run while it is QUEUED. Only what is QUEUED is cancelled without `force`, or removed with
# its thing from a group.
IMPOSSIBLE = {("time-out", "queued")}
IMPOSSIBLE |= {(how, each.__name__) for how in ("cancel", "group-removal") for each in MOMENTS[1:]}
