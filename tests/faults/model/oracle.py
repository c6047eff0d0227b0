"""What must hold at every step of the model, whatever happens: the invariants D O T S L X P A B of the harnesses.

Its knowledge is the world's own: what was started, how it ended, what the service was told. Nothing of the core's.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, fields, is_dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.core.backoff import CLOSED, HOPELESS
from iot_jobs_agent.core.effects import Describe, Fetch, Save, StartAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    JournalOpened,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, ExecutionStatus, Plan, Step
from iot_jobs_agent.core.requests import is_awaited
from iot_jobs_agent.core.state import Claiming, Delayed, Judging, Rebooting, Reporting, Running
from iot_jobs_agent.state.encoding import decode_phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.model.attempts import Directory
    from tests.faults.model.daemon import Daemon
    from tests.faults.model.world import World

    from iot_jobs_agent.core.effects import Effect

S = ExecutionStatus
Key = tuple[ExecutionId, int]  # an execution, and which of those that had its id
INTERRUPTIONS = 3
ASKED_IN_10_S = 70  # five jobs in two namespaces at most, each with BURST requests and those for the lists
BURST, BURST_S = 6, 10.0  # requests about one execution without progress
TWO_IN_S = 60.0  # beyond the burst, where what comes back are refusals
STOP_SLACK_S = 2.0
REFUSED_S = 20.0  # after a refused start, for so long at least nobody tries again, unless the agent is another one
ENDED_BY_OTHERS = (S.CANCELED, S.REMOVED, S.TIMED_OUT)


class Violation(AssertionError):  # noqa: N818 - that is the word
    """An invariant does not hold. `invariant` is its letter."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass
class Patience:
    """When requests about an execution went out since it last made progress. `claims` are the tickets among them.

    An accepted claim is not progress yet, since a service could accept one after the other; but the request that
    follows it, `is_claimed`, is not counted.
    """

    asked_at: list[float] = field(default_factory=list)
    claims: set[int] = field(default_factory=set)
    met_silence: bool = False
    is_claimed: bool = False


@dataclass
class Oracle:
    """The witness. `exempt` are executions about which the network lied so that nobody can bring them to an end."""

    world: World
    ledger: dict[Key, dict[AttemptId, AttemptResult | None]] = field(default_factory=lambda: defaultdict(dict))
    interrupted: dict[Key, set[AttemptId]] = field(default_factory=lambda: defaultdict(set))
    told: dict[Key, tuple[S, str]] = field(default_factory=dict)
    over: set[Key] = field(default_factory=set)
    exempt: set[ExecutionId] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    asked_at: deque[float] = field(default_factory=deque)
    is_throttled: bool = False
    was_refused: bool = False
    without_progress: dict[ExecutionId, Patience] = field(default_factory=lambda: defaultdict(Patience))
    round_trips: int = 0
    refusals: int = 0
    refused_at: dict[AttemptId, float] = field(default_factory=dict)
    never_began: dict[AttemptId, int] = field(default_factory=dict)  # of which incarnation, until it is tried again

    def violated(self, invariant: str, what: str) -> None:
        raise Violation(invariant, what)

    def require(self, fact: object, invariant: str, *what: object) -> None:
        """See that it is a fact; `what` is put together only if it is none."""
        if not fact:
            self.violated(invariant, " ".join(each if isinstance(each, str) else brief(each) for each in what))

    def key(self, execution: ExecutionId) -> Key:
        return execution, self.world.service.incarnation(execution)

    def heard(self, daemon: Daemon, event: Any) -> tuple[Key, ...]:
        """Return what the agent learns from an answer it waits for: that the service ended an execution.

        Waits: a refused word on progress that comes once the outcome is being told is nothing it would learn from.
        """
        known = daemon.state.executions.get(getattr(event, "execution", None))
        if known is None or not is_awaited(known.phase, getattr(event, "ticket", 0)):
            return ()
        match event:
            case Described(execution=execution, status=status) if status in ENDED_BY_OTHERS:
                return (self.key(execution),)
            case UpdateFailed(ticket=ticket) if ticket in daemon.lies:
                return ()
            case UpdateFailed(execution=execution, current=current) if current in ENDED_BY_OTHERS:
                return (self.key(execution),)
            case (
                DescribeFailed(execution=execution, ticket=ticket, code="ResourceNotFound")
                | UpdateFailed(execution=execution, ticket=ticket, code="ResourceNotFound")
            ) if ticket not in daemon.lies:
                return (self.key(execution),)
            case _:
                return ()

    def learned(self, over: Sequence[Key]) -> None:
        """Note what the agent has learned for good: it was decided on, and committed. What runs of it must end."""
        self.over.update(over)
        for directory in self.world.attempts.alive if over else ():
            if (directory.attempt.execution, directory.incarnation) in over:
                patience_s = directory.step.grace_s + STOP_SLACK_S
                self.world.after(patience_s, lambda d=directory: self._has_stopped(d), self.world.daemon)

    def _has_stopped(self, directory: Directory) -> None:
        is_alive = directory.is_alive and not (directory.result and directory.result.leftovers_alive)
        self.require(not is_alive, "P", directory.attempt, "still runs, long after the agent knew that it is over")

    def lied(self, daemon: Daemon, request: Any, code: str) -> None:
        """Note a refusal that the service did not give."""
        daemon.lies.add(request.ticket)
        self.is_throttled |= code == "RequestThrottled"
        if isinstance(request, Update) and code in CLOSED | HOPELESS:
            self.exempt.add(request.execution)
        if isinstance(request, Describe) and code in CLOSED:
            known = daemon.state.executions.get(request.execution)
            if known is not None and not isinstance(known.phase, Judging):
                self.exempt.add(request.execution)

    def decided(self, event: Any, effects: Sequence[Effect]) -> None:
        world = self.world
        self._note_progress(event)
        if world.story is not None:
            world.tell(f"  heard {brief(event)}")
            for effect in effects:
                world.tell(f"      -> {brief(effect)}")

    def committed(self, effects: Sequence[Any]) -> None:
        """Every phase must come back from the journal as it was, and take no secret into it."""
        for effect in effects:
            if isinstance(effect, Save):
                self.round_trips += 1
                _, name, text = self.world.disk.rows[effect.execution.id]
                same = decode_phase(name, text) == effect.execution.phase
                self.require(same, "D", "a phase does not survive the journal:", effect)
                self.require("secret-" not in text, "A", "the journal holds a secret:", text)

    def asking(self, daemon: Daemon, request: Any) -> None:
        """Look at a request as it goes out."""
        self._bounded()
        if isinstance(request, Fetch):
            waiting = [r for r in daemon.asked.values() if isinstance(r, Update) and r.status.is_terminal]
            self.require(not waiting, "F", "a list is asked for while a report is not answered")
        if isinstance(request, Describe | Update):
            self._patient(request)
        if isinstance(request, Update):
            self._journalled(request)
            if request.status.is_terminal:
                self._terminal(request)
            if request.status is S.SUCCEEDED:
                self._success(request)

    def _note_progress(self, event: Any) -> None:
        """Note what ends an execution's patience, and what makes the rules for refusals not apply."""
        match event:
            case JournalOpened() | Connected():
                self.without_progress.clear()
                if isinstance(event, JournalOpened):
                    self.refused_at.clear()
            case AttemptStarted(attempt) | AttemptEnded(attempt) | AttemptNeverStarted(attempt):
                self.without_progress.pop(attempt.execution, None)
            case UpdateAccepted(execution, ticket):
                patience = self.without_progress[execution]
                patience.is_claimed = ticket in patience.claims
                if not patience.is_claimed:
                    self.without_progress.pop(execution, None)
            case DescribeFailed(execution=execution, code=code) | UpdateFailed(execution=execution, code=code):
                self.was_refused |= bool(code)
                self.without_progress[execution].met_silence |= code in {"", "RequestThrottled"}
            case Described():
                self.was_refused |= bool(self.world.luck.rates)  # it may be outdated, which counts as a refusal

    def _patient(self, request: Describe | Update) -> None:
        """Count the requests about one execution."""
        now, patience = self.world.now, self.without_progress[request.execution]
        if patience.is_claimed:
            patience.is_claimed = False
            return
        asked_at = patience.asked_at
        asked_at.append(now)
        if isinstance(request, Update) and request.expected_version and not request.status.is_terminal:
            patience.claims.add(request.ticket)
        recent = sum(at > now - BURST_S for at in asked_at)
        self.require(recent <= BURST, "B", str(recent), "requests within 10 s about", request.execution)
        budget = BURST + 2 * ceil((now - asked_at[0] - BURST_S) / TWO_IN_S)
        is_slow = len(asked_at) <= max(BURST, budget)
        self.require(is_slow or patience.met_silence, "B", "more than two requests a minute about", request.execution)

    def _bounded(self) -> None:
        now = self.world.now
        self.asked_at.append(now)
        while self.asked_at[0] < now - 10:
            self.asked_at.popleft()
        self.require(len(self.asked_at) < ASKED_IN_10_S, "B", str(len(self.asked_at)), "requests within 10 s")

    def _journalled(self, request: Update) -> None:
        kept = self.world.disk.rows.get(request.execution)
        phase = kept[0].phase if kept else None
        if request.status.is_terminal:
            is_there = isinstance(phase, Reporting) and phase.outcome.status is request.status
        else:
            is_there = isinstance(
                phase, Claiming | Reporting if request.expected_version else Running | Delayed | Rebooting
            )
        self.require(is_there, "D", request, "is said while the journal holds", phase)

    def _terminal(self, request: Update) -> None:
        key = self.key(request.execution)
        is_guarded = request.expected_version > 0  # from QUEUED: another one, made again under its id
        is_excused = is_guarded or self.world.is_restored  # what was over may go on; what we told must stay the same
        self.require(key not in self.over or is_excused, "T", request, "is sent after the service ended it")
        owed = [a for a, incarnation in self.never_began.items() if (a.execution, incarnation) == key]
        self.require(not owed, "L", request, "is sent, but never started:", *owed)
        said = (request.status, (request.details or {}).get("reason", ""))
        before = self.told.setdefault(key, said)
        may_fail = before[0] is S.REJECTED and said[0] is S.FAILED
        is_same = before[0] is said[0] and (before[1] == said[1] or request.details is None)
        self.require(is_same or may_fail, "T", said, "is reported after", before)

    def _success(self, request: Update) -> None:
        verdict = self.world.verdicts[request.execution.job_id]
        self.require(isinstance(verdict, Plan), "S", request, "without a plan")
        attempts = self.ledger[self.key(request.execution)]
        for n, step in enumerate(verdict.steps if isinstance(verdict, Plan) else ()):
            last = max((a for a in attempts if a.step == n), default=None)
            result = attempts[last] if last is not None else None
            ok = result is not None and (is_success(result) or (step.ignore_failure and not result.leftovers_alive))
            self.require(
                ok or (step.ignore_failure and result is None), "S", "SUCCEEDED, but step", n, "ended with", result
            )

    def starting(self, effect: StartAttempt) -> None:
        """Look at a start as it is decided on."""
        world, attempt = self.world, effect.attempt
        kept = world.disk.rows.get(attempt.execution)
        self.require(
            kept and isinstance(kept[0].phase, Running) and kept[0].attempt == attempt,
            "D",
            effect,
            "not journalled",
        )
        self.without_progress.pop(attempt.execution, None)
        waited_s = world.now - self.refused_at.get(attempt, -REFUSED_S)
        self.require(waited_s >= REFUSED_S, "B", effect, f"is tried again {waited_s:.1f} s after systemd refused")
        self.never_began.pop(attempt, None)
        key = self.key(attempt.execution)
        self.require(attempt not in self.ledger[key], "O", effect, "was started before")
        self.require(
            len(self.interrupted[key]) < INTERRUPTIONS, "X", effect, "after", str(INTERRUPTIONS), "interruptions"
        )
        self.require(effect.step.input not in self.secrets, "O", effect, "with a document that was used before")
        self.secrets.add(effect.step.input)

    def refused(self, directory: Directory) -> None:
        """Note that the agent is told of an attempt that could not be started: it is owed another start."""
        self.refusals += 1
        self.refused_at[directory.attempt] = self.world.now
        self.never_began[directory.attempt] = directory.incarnation

    def launched(self, directory: Directory) -> None:
        """Look at a handler that has just begun."""
        world, attempt = self.world, directory.attempt
        key = (attempt.execution, directory.incarnation)
        self.require(attempt not in self.ledger[key], "O", attempt, "runs a second time")
        self.ledger[key][attempt] = None
        alive = world.attempts.alive
        running = [d for d in alive if not (d.result and d.result.leftovers_alive)]
        self.require(len(running) <= world.config.max_concurrent, "C", str(len(running)), "run at once")
        exclusive = [d for d in running if self._is_exclusive(d)]
        self.require(not exclusive or len(running) == 1, "E", exclusive, "does not run alone")

    def _is_exclusive(self, directory: Directory) -> bool:
        verdict = self.world.verdicts[directory.attempt.execution.job_id]
        return isinstance(verdict, Plan) and verdict.is_exclusive

    def ended(self, directory: Directory, result: AttemptResult) -> None:
        """Note how a handler really ended. One that never began may begin later: its directory was not synced."""
        attempts = self.ledger[directory.attempt.execution, directory.incarnation]
        if directory.attempt in attempts:
            if attempts[directory.attempt] is None or result.ending is Ending.LOST:
                attempts[directory.attempt] = result
            if result.ending is Ending.LOST:
                self.interrupted[directory.attempt.execution, directory.incarnation].add(directory.attempt)
        self.world.tell(f"handler of {directory.attempt.directory_name} over: {result.ending}")

    def forgotten(self, directory: Directory) -> None:
        is_alive = directory.is_alive and not (directory.result and directory.result.leftovers_alive)
        self.require(not is_alive, "P", directory.attempt, "is settled while it runs")

    def accepted(self, request: Update) -> None:
        """The service has taken a report: nothing of it may live."""
        if request.status.is_terminal:
            for directory in self.world.attempts.alive:
                has_leftovers = directory.result is not None and directory.result.leftovers_alive
                same = directory.attempt.execution == request.execution
                self.require(not same or has_leftovers, "P", request.status, "while", directory.attempt, "runs")

    def rebooting(self) -> None:
        running = [d.attempt for d in self.world.attempts.directories.values() if not d.is_over]
        self.require(not running, "R", "a reboot while", running, "runs")


def brief(value: Any) -> str:
    """Return an event, effect or phase in a line that can be read: what stands at its default is left out."""
    match value:
        case ExecutionId():
            return str(value)
        case AttemptId():
            return value.directory_name
        case Plan(steps=steps):
            return f"{len(steps)} step(s)"
        case Step():
            return value.name
        case str():
            return str(value)
        case tuple():
            return f"({', '.join(brief(each) for each in value)})"
        case _ if is_dataclass(value) and not isinstance(value, type):
            members = [(f, getattr(value, f.name)) for f in fields(value)]
            shown = [f"{f.name}={brief(m)}" for f, m in members if m != f.default and m not in ({}, "", 0, None)]
            return f"{type(value).__name__}({', '.join(shown)})"
        case _:
            return repr(value)


def is_success(result: AttemptResult) -> bool:
    said = (result.handler_result or {}).get("outcome", "succeeded")
    return (
        result.ending is Ending.EXITED
        and result.code == 0
        and not result.leftovers_alive
        and not result.bad_result
        and said == "succeeded"
    )
