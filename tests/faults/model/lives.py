"""Random lives: what is asked of the device, what goes wrong meanwhile, and that all comes to rest afterwards.

A life is its seed and the kinds of fault that are left out: `17` or `17-lost,kill`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.faults.model.attempts import DONE, Behaviour, Directory
from tests.faults.model.network import CODES
from tests.faults.model.oracle import Violation, brief
from tests.faults.model.service import execution_id, is_others
from tests.faults.model.world import Luck, World

from iot_jobs_agent.core.decide import is_idle
from iot_jobs_agent.core.events import Paused
from iot_jobs_agent.core.job import AttemptResult, Ending, OnInterrupt, Plan, Refusal, Step, StepKind
from iot_jobs_agent.core.state import Delayed, Rebooting, Reporting, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iot_jobs_agent.core.effects import StartAttempt
    from iot_jobs_simulator.jobs.execution import JobExecution
    from iot_jobs_simulator.jobs.store import JobStore

NETWORK = ("lost", "late", "twice", "refused", "lag")
DEVICE = ("disk", "crash", "torn", "wild")
SYSTEMD = ("no unit", "queued", "stuck")  # where handlers have units of their own
BEFALLS = ("cut", "outage", "kill", "power", "shim", "operator", "other", "clock", "noise", "stubborn", "backup")
KINDS = (*NETWORK, *DEVICE, *BEFALLS, *SYSTEMD)
UNITS = 0.4  # of the lives
QUIET_S = 60.0
THROTTLED_S = 700.0
REFUSED_S = 300.0  # the longest wait after a refusal


def said(word: str) -> AttemptResult:
    return replace(DONE, handler_result={"outcome": word, "reason": "so"})


WILD = (
    *[Behaviour()] * 6,
    Behaviour(20.0, progress=3),
    Behaviour(15.0, progress=2, extend_s=30.0),
    Behaviour(result=AttemptResult(Ending.EXITED, code=3, stderr="no")),
    Behaviour(result=AttemptResult(Ending.SIGNALED, signal=9)),
    *[Behaviour(2.0, said("retry"))] * 2,
    *[Behaviour(2.0, said("reboot"))] * 4,
    Behaviour(result=said("rejected")),
    Behaviour(result=said("failed")),
    Behaviour(result=AttemptResult(Ending.EXITED, code=0, bad_result="not JSON")),
    Behaviour(None),
    Behaviour(None, ignores_term=True, progress=1),
    Behaviour(30.0, ignores_term=True),
    Behaviour(result=AttemptResult(Ending.EXITED, code=0, leftovers_alive=1)),
    Behaviour(cannot_start=True),
)


@dataclass(frozen=True)
class Life:
    """Which life: its seed, and the kinds of fault that are left out of it."""

    seed: int
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.seed}-{','.join(self.without)}" if self.without else str(self.seed)

    @classmethod
    def parse(cls, text: str) -> Life:
        seed, _, without = text.partition("-")
        return cls(int(seed), tuple(filter(None, without.split(","))))

    def stream(self, kind: str) -> random.Random:
        return random.Random(f"{self.seed}/{kind}")


def a_step(draw: random.Random, n: int) -> Step:
    timeout_s = draw.choice((20.0, 60.0))
    return Step(
        f"step-{n}",
        "h",
        StepKind.HANDLER,
        timeout_s=timeout_s,
        max_timeout_s=timeout_s * draw.choice((1, 3)),
        grace_s=draw.choice((1.0, 5.0)),
        on_interrupt=draw.choice(list(OnInterrupt)),
        exclusive=draw.random() < 0.15,
        may_reboot=draw.random() < 0.7,
        retry_limit=draw.choice((0, 1, 2)),
        retry_delay_s=draw.choice((5.0, 30.0)),
        ignore_failure=draw.random() < 0.15,
    )


def a_document(draw: random.Random) -> Plan | Refusal:
    if draw.random() < 0.1:
        return Refusal("no such handler", is_unknown=draw.random() < 0.5)
    return Plan(tuple(a_step(draw, n) for n in range(draw.choice((1, 1, 1, 2, 3)))))


def behaviours(luck: Luck) -> Callable[[StartAttempt], Behaviour]:
    """Return what handlers do: well, or anything that handlers do. None asks for a reboot again and again."""

    def behaviour(effect: StartAttempt) -> Behaviour:
        if not luck.chance("wild", 1.0):
            return Behaviour(luck.uniform("handler", 0.1, 10.0))
        drawn = luck.choice("wild", WILD)
        is_again = effect.attempt.number > 3 and "reboot" in str(drawn.result.handler_result)
        return Behaviour() if is_again else drawn

    return behaviour


def a_world(stream: Callable[[str], random.Random], rates: dict[str, float], story: list[str] | None = None) -> World:
    """Return a device with documents that wait to become jobs."""
    draw = stream("world")
    luck = Luck(stream, {"coin": 1.0, **rates})
    config = Settings(
        ("", "team-a"),
        draw.choice((1, 1, 2, 3)),
        poll_interval_s=draw.choice((30.0, 1800.0)),
        progress_interval_s=draw.choice((1.0, 10.0)),
        ignores_unknown=draw.random() < 0.3,
    )
    documents = {f"job-{n}": a_document(draw) for n in range(6)}
    world = World(luck, config, documents, behaviours(luck), story, has_units=stream("launcher").random() < UNITS)
    world.boots()
    return world


def lived(life: Life, story: list[str] | None = None, always: Sequence[str] = ()) -> World:
    """Live it; the kinds of fault in `always` are in every life. Raises Violation."""
    draw = life.stream("life")
    chosen = {kind: draw.choice((0.2, 0.5, 1.0)) for kind in KINDS if draw.random() < 0.4}
    chosen |= dict.fromkeys(always, 1.0)
    rates = {kind: rate for kind, rate in chosen.items() if kind not in life.without}
    world = a_world(life.stream, rates, story)
    horizon = draw.choice(
        (10.0, 30.0, 120.0) if world.config.poll_interval_s < QUIET_S else (10.0, 60.0, 600.0, 6000.0)
    )
    for n in range(draw.choice((1, 1, 2, 2, 3, 5))):
        timeout, retries = draw.choice((0, 0, 0, 1, 10)), draw.choice((0, 0, 1, 2))
        at, namespace = draw.uniform(0.0, min(horizon, 60.0)), draw.choice(("", "", "team-a"))
        job = (f"job-{n}", namespace, timeout, retries)
        world.after(at, lambda job=job: create(world, *job))
    for kind in BEFALLS:
        if kind in rates:
            times = life.stream(f"times of {kind}")
            for _ in range(times.choice((1, 2, 4)) * (4 if kind == "noise" else 1)):
                world.after(horizon * times.random() ** 2, lambda kind=kind: befall(world, kind))
    world.run_until(horizon)
    come_to_rest(world)
    return world


def create(world: World, job_id: str, namespace: str, timeout_minutes: int, retries: int) -> None:
    if world.story is not None:
        world.tell(f"OPERATOR creates {job_id} in {namespace!r}: {brief(world.verdicts[job_id])}")
    world.service.create(job_id, namespace, timeout_minutes, retries)


def befall(world: World, kind: str) -> None:
    """Let one thing happen now."""
    match kind:
        case "cut":
            world.cut()
        case "kill":
            world.kill()
        case "power":
            world.power_cut()
        case "shim":
            world.kill_a_shim()
        case "clock":
            world.jump()
        case "outage":
            world.network.fail_for_a_while()
        case "noise":
            world.network.noise()
        case "backup" if world.is_backed_up:  # once: a second one could bring back what the first one made unknown
            return
        case "backup":
            world.is_backed_up = True
            backup = world.service.back_up()
            world.tell("BACKUP")
            world.after(world.luck.uniform("backup", 0.5, 60.0), lambda: restore(world, backup))
        case _:
            intervene(world, kind)


def intervene(world: World, kind: str) -> None:
    """An operator, or another agent, does something with one of the jobs."""
    jobs = sorted(world.service.store.jobs)
    if not jobs:
        return
    service, job_id = world.service, world.luck.choice(kind, jobs)
    if kind == "stubborn":
        code = world.luck.choice("stubborn", CODES)
        world.tell(f"SERVICE refuses every update of {job_id}: {code}")
        world.network.stubborn[job_id] = code
        return
    if kind == "other":
        world.tell(f"OTHER AGENT takes {job_id}")
        service.claim_for_other(job_id)
        if world.luck.coin("other"):
            world.after(world.luck.uniform("other", 0.1, 60.0), lambda: service.end_for_other(job_id))
        return
    what: dict[str, Callable[[], Any]] = {
        "cancels": lambda: service.cancel(job_id, force=False),
        "force-cancels": lambda: service.cancel(job_id, force=True),
        "cancels the execution of": lambda: service.cancel_execution(job_id, force=False),
        "force-cancels the execution of": lambda: service.cancel_execution(job_id, force=True),
        "deletes": lambda: service.delete(job_id),
        "deletes the execution of": lambda: service.delete_execution(job_id),
        "removes from its group the target of": lambda: service.remove(job_id),
    }
    word = world.luck.choice("operator", sorted(what))
    world.tell(f"OPERATOR {word} {job_id}")
    what[word]()


def restore(world: World, backup: JobStore) -> None:
    """The service is restored from a backup: what it ended since, and the agent knows of, is nobody's to end again."""
    if world.network.is_good:
        return
    world.tell("RESTORED")
    world.is_restored = True
    oracle = world.oracle
    # What never ran here may run now.
    oracle.over = {
        key for key in oracle.over if oracle.ledger[key] or key in oracle.told
    }  # what never ran here may run
    world.service.restore(backup)


def come_to_rest(world: World) -> None:
    """Stop all faults, and see that everything ends: within a minute beside the handlers' own times."""
    world.tell("ALL FAULTS STOP")
    world.luck.rates = {}
    world.network.mend()
    go_on(world)
    oracle = world.oracle
    waited_s = 0.0
    while not is_at_rest(world):
        at = world.next_at
        if at is None:
            raise Violation("L", f"nothing will ever happen again: {pending(world)}")
        if not is_excused(world):
            waited_s += at - world.now
        limit_s = THROTTLED_S if oracle.is_throttled else REFUSED_S + QUIET_S if oracle.was_refused else QUIET_S
        if waited_s > limit_s:
            raise Violation("L", f"not at rest after {waited_s:.0f} s: {pending(world)}")
        world.step()
    at_rest(world)


def go_on(world: World) -> None:
    """Lift the pause; start and connect the agent, soon; where it hardly ever polls, connect again."""
    if world.daemon is None:
        if not world.is_rebooting:
            world.after(1.0, world.boots)
        return
    daemon = world.daemon
    if daemon.is_connected and world.config.poll_interval_s > QUIET_S:
        daemon.disconnect()
    world.after(1.0, world.restore, daemon)
    world.hear(Paused(is_paused=False))  # also one that the agent has yet to hear of


def is_excused(world: World) -> bool:
    """Tell whether handlers that are still wanted, delays that they asked for, or a boot are what is waited for."""
    daemon = world.daemon
    if daemon is None or any(is_wanted(world, d) for d in world.attempts.directories.values() if not d.is_over):
        return True
    now = world.monotonic
    phases = [e.phase for e in daemon.state.executions.values()]
    return any(
        (isinstance(p, Delayed) and p.due_at > now) or (isinstance(p, Rebooting) and p.is_ordered) for p in phases
    )


def is_wanted(world: World, directory: Directory) -> bool:
    """Tell whether the service still waits for what an attempt will come to."""
    found = world.service.find(directory.attempt.execution)
    return found is not None and found.status.is_pending


def pending(world: World) -> list[JobExecution]:
    """Return the executions that we owe an end."""
    foreign = world.daemon.state.foreign if world.daemon else frozenset()
    return [
        e
        for e in world.service.pending()
        if not is_others(e)
        and execution_id(e) not in world.oracle.exempt
        and not (world.is_restored and (execution_id(e), e.sequence) in world.oracle.over)
        and not (execution_id(e) in foreign and (world.is_restored or is_unknown(world, e)))
    ]


def is_unknown(world: World, execution: JobExecution) -> bool:
    return world.config.ignores_unknown and isinstance(world.verdicts[execution.job_id], Refusal)


def is_at_rest(world: World) -> bool:
    daemon = world.daemon
    if daemon is None or daemon.batches or not is_idle(daemon.state) or not world.attempts.is_quiet:
        return False
    if any(
        isinstance(e.phase, Reporting) and e.id not in world.oracle.exempt for e in daemon.state.executions.values()
    ):
        return False
    return not pending(world)


def at_rest(world: World) -> None:
    """Nothing lives, and nothing is left in the journal but what cannot be reported."""
    left = [kept for kept, *_ in world.disk.rows.values()]
    stuck = [e for e in left if not (isinstance(e.phase, Reporting) and e.id in world.oracle.exempt)]
    world.oracle.require(not stuck, "L", "left in the journal:", tuple(stuck))
    alive = [d for d in world.attempts.alive if not (d.result and d.result.leftovers_alive)]
    world.oracle.require(not alive, "P", "alive at the end:", tuple(alive))
