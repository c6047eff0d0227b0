"""The invariants, checked on what a world left: the ledger, the service's record, what was sent, the journal."""

import signal

from tests.faults.kill.world import WATCHDOG_S, Agent, World

from iot_jobs_agent.core.state import Reporting
from iot_jobs_agent.errors import JournalError
from iot_jobs_agent.state.journal import Recovered
from iot_jobs_simulator.jobs.execution import ExecutionStatus

LIVE_S = 60.0
READY_S = 30.0  # 5 s on a device of its own; here others may load the machine, and the worst is printed
TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED"}


async def settle(world: World) -> Agent:
    """Start an agent that nothing happens to, let it settle everything, and check. Returns that agent."""
    agent = await world.start()
    status = await agent.ended(LIVE_S)
    if status is None:
        world.seen.append(f"L not idle after {LIVE_S:.0f} s")
        await agent.end(signal.SIGTERM)
    check_ready(world, agent)
    check(world)
    return agent


def check_ready(world: World, agent: Agent) -> None:
    """R: ready soon, from whatever it found."""
    if agent.ready_at is None:
        world.seen.append(f"R the agent ended with status {agent.process.returncode} and was never ready")
    elif agent.ready_at - agent.started_at > READY_S:
        world.seen.append(f"R ready only after {agent.ready_at - agent.started_at:.1f} s")


def check_watch(world: World, agent: Agent) -> None:
    """W: the watchdog was fed in time, and the connection held."""
    if agent.longest_silence_s > WATCHDOG_S:
        world.seen.append(f"W the watchdog heard nothing for {agent.longest_silence_s:.1f} s")
    if "connection lost" in agent.log.read_text():
        world.seen.append("W the connection was lost")


def check(world: World) -> None:
    """Everything that must hold once the last agent is gone."""
    for job in world.jobs:
        _check_starts(world, job)
        _check_end(world, job)
    _check_history(world)


def _check_starts(world: World, job: str) -> None:
    starts = world.ledger("start", job)
    if len(starts) != len(set(starts)):
        world.seen.append(f"O started twice: {starts}")


def _check_end(world: World, job: str) -> None:
    status = world.status(job)
    if not world.is_over(job):
        world.seen.append(f"L {job} is {status} though nothing is wrong any more")
    last_words = [each for each in world.told(job) if each["status"] in TERMINAL]
    if any(each != last_words[0] for each in last_words):
        world.seen.append(f"T told different ends of {job}: {[each['status'] for each in last_words]} {last_words}")
    if status == ExecutionStatus.SUCCEEDED and not world.ledger("end", job):
        world.seen.append(f"S {job} is SUCCEEDED, and its handler never came to its end")
    if alive := world.alive(job):
        world.seen.append(f"P {job} is {status}, and {len(alive)} processes of it are alive")
    if world.has_unit(job):
        world.seen.append(f"P {job} is {status}, and its unit is not over")
    if world.counts_refused(job):
        world.seen.append(f"L {job} is {status}, of which systemd refused a start that counts all the same")


def _check_history(world: World) -> None:
    try:
        recovered = world.journal()
    except JournalError as error:
        world.seen.append(f"D the journal cannot be read: {error}")
        return
    known = {execution.job_id: settled.outcome.status.value for execution, settled in recovered.settled.items()}
    for job in world.jobs:
        status = world.status(job)
        if world.is_over(job) and (status is None or known.get(job) != status.value):
            world.seen.append(f"D the service has {job} as {status}, the history as {known.get(job)}")
    if recovered.executions:
        world.seen.append(f"L still under way: {recovered.executions}")


async def watch_told(world: World) -> None:
    """Check D whenever the service is told something."""

    def count() -> int:
        return sum(len(world.told(job)) for job in world.jobs)

    known = [0]

    def is_news() -> bool:
        return count() > known[-1]

    while True:
        await world.until(is_news, 600)
        known.append(count())
        check_told(world)


def check_told(world: World) -> None:
    """D: what the service was told by now stands in the journal, that of an agent at work or that a dead one left."""
    told = {job: world.told(job) for job in world.jobs}
    try:
        recovered = world.journal()
    except JournalError as error:
        if any(told.values()):
            world.seen.append(f"D something was told, and the journal cannot be read: {error}")
        return
    for job, updates in told.items():
        for update in updates:
            if not _stands_in(recovered, job, update["status"]):
                world.seen.append(f"D the service was told that {job} is {update['status']}, the journal knows nothing")
                return


def _stands_in(recovered: Recovered, job: str, status: str) -> bool:
    for execution, settled in recovered.settled.items():
        if execution.job_id == job:
            return status not in TERMINAL or settled.outcome.status.value == status
    for execution in recovered.executions:
        if execution.id.job_id == job:
            phase = execution.phase
            return status not in TERMINAL or (isinstance(phase, Reporting) and phase.outcome.status.value == status)
    return False
