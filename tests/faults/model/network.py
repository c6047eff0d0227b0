"""What lies between agent and service: requests, answers and notifications are lost, late, doubled, refused, replayed.

An answer that comes late, or twice, carries a ticket that nobody waits for any more; the core must not believe it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.core.effects import Describe, Fetch, Update
from iot_jobs_agent.core.events import (
    Described,
    DescribeFailed,
    FetchFailed,
    Listed,
    Notified,
    Paused,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import ExecutionStatus
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from tests.faults.model.daemon import Daemon
    from tests.faults.model.service import Hint
    from tests.faults.model.world import World

REQUEST_TIMEOUT_S = 10.0
CODES = (
    "InternalError",
    "RequestThrottled",
    "Surprise",
    "InvalidRequest",
    "InvalidJson",
    "InvalidTopic",
    "VersionMismatch",
    "InvalidStateTransition",
    "TerminalStateReached",
    "ResourceNotFound",
)
DELAYS_S = (1.0, 9.0, 11.0, 60.0, 3600.0, 10000.0)


@dataclass
class Network:
    """Between the one agent and the one service. `is_good` once faults have stopped."""

    world: World
    is_good: bool = False
    heard: list[Hint] = field(default_factory=list)
    queued: list[Hint] = field(default_factory=list)
    asks: int = 0
    outage: str | None = None  # what everything is refused with
    stubborn: dict[str, str] = field(default_factory=dict)  # what every update of a job is refused with

    def ask(self, daemon: Daemon, request: Any) -> None:
        """Send a request on its way, if there is one."""
        world, luck = self.world, self.world.luck
        self.asks += 1
        daemon.asked[request.ticket] = request
        if not daemon.is_connected:
            self.unanswered(daemon, request.ticket)
            return
        world.after(REQUEST_TIMEOUT_S, lambda: self.unanswered(daemon, request.ticket), daemon)
        for _ in range(1 + luck.chance("twice", 0.2)):
            if not luck.chance("lost", 0.3):
                world.after(self._delay_s(), lambda: self._arrives(daemon, request))

    def unanswered(self, daemon: Daemon, ticket: int) -> None:
        """Give up on an answer."""
        if ticket in daemon.asked:
            self._delivered(daemon, ticket, failed(daemon.asked[ticket], "", self.world.luck.jitter()))

    def _delay_s(self) -> float:
        luck = self.world.luck
        return luck.choice("late", DELAYS_S) if luck.chance("late", 0.3) else luck.uniform("delay", 0.01, 0.08)

    def _arrives(self, daemon: Daemon, request: Any) -> None:
        """Answer as the service does, or say no in its name."""
        luck = self.world.luck
        if self.is_good and daemon.asked.get(request.ticket) is not request:
            return  # it would have come long after its time, and faults have stopped
        stubborn = self.stubborn.get(request.execution.job_id) if isinstance(request, Update) else None
        if self.outage is not None or stubborn is not None or luck.chance("refused", 0.4):
            code = self.outage or stubborn or luck.choice("refused", CODES)
            self.world.oracle.lied(daemon, request, code)
            answer = failed(request, code, luck.jitter())
        else:
            answer = self._answer(request)
        for _ in range(1 + luck.chance("twice", 0.2)):
            if not luck.chance("lost", 0.3):
                self.world.after(self._delay_s(), lambda: self._delivered(daemon, request.ticket, answer), daemon)

    def _answer(self, request: Any) -> Any:
        world, luck = self.world, self.world.luck
        lag_s = luck.uniform("lag", 0.0, 2.0) if luck.chance("lag", 0.5) else 0.0
        try:
            match request:
                case Fetch(namespace=namespace, ticket=ticket, is_complete=is_complete):
                    shown = world.service.fetch(request, lag_s)
                    return Listed(namespace, ticket, shown, is_complete or not namespace, luck.jitter())
                case Describe(execution=execution, ticket=ticket):
                    seen = world.service.describe(request, lag_s)
                    verdict = world.verdict(execution)
                    return Described(
                        execution,
                        ticket,
                        seen.status,
                        seen.version,
                        seen.claimed_by,
                        verdict,
                        "h",
                        jitter=luck.jitter(),
                        queued_at=seen.queued_at,
                    )
                case Update(execution=execution, ticket=ticket):
                    world.service.update(request)
                    world.oracle.accepted(request)
                    return UpdateAccepted(execution, ticket)
        except Refused as refused:
            return refusal(request, refused, luck.jitter())
        raise AssertionError(request)

    def _delivered(self, daemon: Daemon, ticket: int, answer: Any) -> None:
        """Hand over an answer, once; a later one is stale, and may reach the core all the same."""
        if self.world.daemon is not daemon:
            return
        is_awaited = daemon.asked.pop(ticket, None) is not None
        if not is_awaited and self.is_good:
            return
        if isinstance(answer, Described):
            answer = replace(answer, at=self.world.wall)
        self.world.hear(answer, is_stale=not is_awaited)

    def notify(self, hint: Hint) -> None:
        """Bring a notification to the agent: now, late, twice, after the next connect, or never."""
        luck = self.world.luck
        self.heard.append(hint)
        for _ in range(1 + luck.chance("twice", 0.2)):
            if not luck.chance("lost", 0.3):
                self.world.after(self._delay_s(), lambda: self._notified(hint))

    def _notified(self, hint: Hint) -> None:
        daemon = self.world.daemon
        if daemon is not None and daemon.is_connected:
            self.world.hear(Notified(hint.namespace, hint.pending, hint.is_complete))
        elif self.world.luck.chance("lost", 1.0) is False:
            self.queued.append(hint)  # the session is persistent

    def connected(self) -> None:
        """Deliver what the broker kept."""
        queued, self.queued = self.queued, []
        for hint in queued:
            self.world.after(0.01, lambda hint=hint: self._notified(hint))

    def fail_for_a_while(self) -> None:
        """Let the service refuse everything for a while."""
        code = self.world.luck.choice("outage", CODES[:3])
        self.outage = code
        self.world.tell(f"OUTAGE: {code}")
        self.world.after(self.world.luck.choice("outage", (5.0, 30.0, 120.0)), self._served)

    def _served(self) -> None:
        self.outage = None

    def mend(self) -> None:
        """Be good from now on."""
        self.is_good = True
        self.outage = None
        self.stubborn.clear()
        self.queued.clear()

    def noise(self) -> None:
        """Say something untimely: an old notification, an empty one, or people's pause."""
        luck = self.world.luck
        what = luck.choice("noise", ("replay", "replay", "empty", "pause", "go on"))
        if what == "replay" and self.heard:
            self._notified(luck.choice("noise", self.heard))
        elif what == "empty":
            namespace = luck.choice("noise", ("", "team-a", "unserved"))
            self.world.hear(Notified(namespace, (), luck.chance("coin", 0.5)))
        elif what in {"pause", "go on"}:
            self.world.hear(Paused(what == "pause"))


def failed(request: Any, code: str, jitter: float) -> Any:
    """Return the event of a request that was refused, or not answered."""
    match request:
        case Fetch(namespace=namespace, ticket=ticket):
            return FetchFailed(namespace, ticket, code, jitter)
        case Describe(execution=execution, ticket=ticket):
            return DescribeFailed(execution, ticket, code, jitter)
        case Update(execution=execution, ticket=ticket):
            return UpdateFailed(execution, ticket, code, None, jitter)
    raise AssertionError(request)


def refusal(request: Any, refused: Refused, jitter: float) -> Any:
    event = failed(request, refused.code.value, jitter)
    state = refused.members.get("executionState")
    if isinstance(event, UpdateFailed) and state:
        return replace(event, current=ExecutionStatus(state["status"].value))
    return event
