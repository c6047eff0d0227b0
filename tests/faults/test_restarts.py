"""N1: the broker restarts, with its sessions or without, and tells the truth about them or not."""

from collections.abc import Callable
from typing import Any

from rig import Rig

from iot_jobs_simulator.faults.faults import SessionPresent, Silence


async def test_n1_a_broker_restart_loses_nothing_whatever_it_says_of_the_session(
    rigs: Callable[..., Any], together: Callable[..., Any]
) -> None:
    """N1, T, O, L: with and without sessions, and with a CONNACK that lies about it."""
    cases = [(keeps, says) for keeps in (True, False) for says in (None, not keeps)]
    await together([restart(await rigs(f"pi-{keeps}-{says}"), keeps=keeps, says=says) for keeps, says in cases])


async def restart(pi: Rig, *, keeps: bool, says: bool | None) -> None:
    """One job runs, one is over but not reported, one comes while the broker is away."""
    sim = pi.sim
    pi.device.sections["agent"]["max_concurrent"] = 3
    agent = await pi.start()
    for job in ("running", "ended"):
        pi.create(job, "gated")
        await pi.hears(f"{job} begun")
    swallowed = sim.faults.add(Silence(operation="UpdateJobExecution", job="ended"))
    pi.open_gate("ended")
    await agent.says("succeeded", execution="ended")
    if says is not None:
        sim.faults.add(SessionPresent(says=says, times=1))
    await sim.stop_broker(keep_sessions=keeps)
    await agent.says("connection lost")
    sim.received.clear()
    sim.faults.clear(swallowed)
    pi.create("new", "note")
    await sim.start_broker()
    await pi.ends("ended", "SUCCEEDED")
    await pi.ends("new", "SUCCEEDED")
    pi.open_gate("running")
    await pi.ends("running", "SUCCEEDED")
    asked = [topic.rpartition("/jobs/")[2] for topic, _ in sim.received]
    assert asked.index("ended/update") < asked.index("get"), asked  # outcomes first, then the list
    assert sim.has_subscription(f"$aws/things/{pi.thing}/jobs/notify")
