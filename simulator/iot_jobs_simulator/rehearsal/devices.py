"""What the devices of a fleet do, by their fates: they hear what is next for them, start it, and report. Pure.

Whoever drives them tells them what the service publishes, and performs each `Act` at the service at its time: `core`
at the rules themselves, a test at the live simulator over MQTT.
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.rehearsal.fates import Fates
from iot_jobs_simulator.rehearsal.fleet import SILENT


@dataclass(frozen=True, slots=True)
class Act:
    """A device's request: to start what is next, or to report how it ended."""

    thing_name: str
    number: int
    status: ExecutionStatus


class Devices:
    """All devices of a fleet. `numbers` are theirs in the fates, by name; `created_at` is when the fates begin."""

    def __init__(self, fates: Fates, numbers: Mapping[str, int], created_at: float) -> None:
        self._fates = fates
        self._numbers = numbers
        self._created_at = created_at
        self._heard: dict[str, int] = {}  # how often each has heard what is next: an older intention is void
        self._acts: list[tuple[float, int, int, Act]] = []
        self._planned = 0

    @property
    def next_at(self) -> float:
        """When the next device acts, as far as they know by now; infinite if none does."""
        while self._acts and self._acts[0][2] != self._heard[self._acts[0][3].thing_name]:
            heapq.heappop(self._acts)
        return self._acts[0][0] if self._acts else math.inf

    def hear(self, thing_name: str, number: int | None, now: float) -> None:
        """A device is told that this execution is next and QUEUED, or that there is none. One that is away hears later.

        While its execution is in progress it is told only when that was taken from it, and then lets go of it.
        """
        self._heard[thing_name] = self._heard.get(thing_name, 0) + 1
        if number is not None:
            thing = self._numbers[thing_name]
            attempt = self._fates.attempts[number - 1]
            is_rejected = self._fates.causes[attempt.causes[thing]].status == ExecutionStatus.REJECTED
            status = ExecutionStatus.REJECTED if is_rejected else ExecutionStatus.IN_PROGRESS
            there_at = max(now, self._created_at + self._fates.online_after_s[thing])
            self._plan(there_at + attempt.reaction_s[thing], Act(thing_name, number, status))

    def take(self) -> tuple[float, Act]:
        """The next act and its time, if `next_at` has one. The end of what it starts is planned with it."""
        at, _, _, act = heapq.heappop(self._acts)
        if act.status is ExecutionStatus.IN_PROGRESS:
            thing = self._numbers[act.thing_name]
            attempt = self._fates.attempts[act.number - 1]
            cause = self._fates.causes[attempt.causes[thing]]
            if cause.status != SILENT:
                end = Act(act.thing_name, act.number, ExecutionStatus(cause.status))
                self._plan(at + attempt.duration_s[thing], end)
        return at, act

    def _plan(self, at: float, act: Act) -> None:
        if at < math.inf:
            self._planned += 1
            heapq.heappush(self._acts, (at, self._planned, self._heard[act.thing_name], act))
