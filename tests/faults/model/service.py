"""The service of the model: the simulator's own rules on virtual time, an operator, and agents that are not ours.

What it answers may be as old as `lag_s` says: lists and descriptions are eventually consistent.
"""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from iot_jobs_agent.core.effects import Describe, Fetch, Update
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus
from iot_jobs_simulator.jobs import device, execution_control, job_control, lifecycle, rollout
from iot_jobs_simulator.jobs.execution import ExecutionStatus as ServiceStatus
from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.job import JobRequest
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.refusals import Refused

THING = "thing"
EPOCH = 1_700_000_000.0
OTHER_AGENT = "other"


@dataclass(frozen=True)
class Seen:
    """What a description shows of an execution."""

    status: ExecutionStatus
    version: int
    claimed_by: str
    queued_at: int


@dataclass(frozen=True)
class Hint:
    """A notification: the executions it names, and whether that is the whole list."""

    namespace: str
    pending: tuple[ExecutionId, ...]
    is_complete: bool


@dataclass
class Record:
    """What became of one execution. `by` said the last word: us, another agent, or the service."""

    execution: ExecutionId
    incarnation: int
    status: ExecutionStatus
    by: str = ""


@dataclass
class Service:
    """The jobs of one thing. `published` takes the notifications as they become due."""

    published: Callable[[Hint], None]
    clock: Callable[[], float]
    settings: ServiceSettings = field(default_factory=lambda: ServiceSettings(namespace_topic_of_api_text=False))
    store: JobStore = field(init=False)
    lists: dict[str, list[tuple[float, tuple[ExecutionId, ...]]]] = field(default_factory=lambda: defaultdict(list))
    looks: dict[ExecutionId, list[tuple[float, Seen]]] = field(default_factory=lambda: defaultdict(list))
    records: dict[tuple[ExecutionId, int], Record] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ("", "team-a")
    created: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = JobStore(settings=self.settings)
        self.store.registry.create(THING, {})

    @property
    def now(self) -> float:
        return EPOCH + self.clock()

    @property
    def next_due(self) -> float | None:
        """When the service does something by itself, in seconds of the clock."""
        due = rollout.next_due(self.store)
        return None if due is None else due - EPOCH

    def advance(self) -> None:
        """Do what is due: rollouts, time-outs."""
        rollout.advance(self.store, self.now)
        self._changed("service")

    def pending(self) -> list[JobExecution]:
        return [e for ns in self.namespaces for e in self.store.pending(THING, ns)]

    def find(self, execution: ExecutionId) -> JobExecution | None:
        executions = self.store.executions.latest_first(THING, execution.job_id)
        return next((e for e in executions if execution_id(e) == execution), None)

    def incarnation(self, execution: ExecutionId) -> int:
        """Which of the jobs that had this id: one that was deleted and created again is another."""
        found = self.find(execution)
        if found is not None:
            return found.sequence
        return max((inc for known, inc in self.records if known == execution), default=0)

    def fetch(self, request: Fetch, lag_s: float) -> tuple[ExecutionId, ...]:
        """Answer with the list, or for a head that was asked for with `$next`."""
        past = [ids for at, ids in self.lists[request.namespace] if at <= self.clock() - lag_s]
        shown: tuple[ExecutionId, ...] = past[-1] if past else ()
        return shown[: self.settings.list_cap] if request.is_complete or not request.namespace else shown[:1]

    def describe(self, request: Describe, lag_s: float) -> Seen:
        """Answer with what is, or was. Raises Refused."""
        e = request.execution
        past = [seen for at, seen in self.looks[e] if at <= self.clock() - lag_s]
        if lag_s and past:
            return past[-1]
        found = device.describe(self.store, THING, e.job_id, e.execution_number, namespace=e.namespace)
        if found is None:
            raise AssertionError("only $next has no answer")
        return _seen(found)

    def update(self, request: Update) -> None:
        """Apply our report. Raises Refused."""
        change = device.Update(
            ServiceStatus(request.status.value),
            request.details,
            request.expected_version or None,
            request.execution.execution_number,
            request.step_timeout_minutes or None,
        )
        e = request.execution
        try:
            device.update(self.store, THING, e.job_id, change, self.now, namespace=e.namespace)
        finally:
            self._changed("us")

    def create(self, job_id: str, namespace: str, timeout_minutes: int, retries: int) -> None:
        """An operator creates a job, unless its id is in use or was in this second: no device could tell."""
        if self.created.get(job_id) == int(self.now):
            return
        self.created[job_id] = int(self.now)
        request = JobRequest(
            job_id,
            (arn(f"thing/{THING}"),),
            "{}",
            namespace=namespace,
            timeout_config={"inProgressTimeoutInMinutes": timeout_minutes} if timeout_minutes else {},
            retry_config={"criteriaList": [{"failureType": "FAILED", "numberOfRetries": retries}]} if retries else {},
        )
        self._tried(lambda: job_control.create(self.store, request, self.now))
        self.advance()

    def cancel(self, job_id: str, *, force: bool) -> None:
        self._tried(
            lambda: job_control.cancel(self.store, job_id, self.now, force=force, reason_code=None, comment=None)
        )

    def cancel_execution(self, job_id: str, *, force: bool) -> None:
        self._tried(
            lambda: execution_control.cancel(
                self.store, THING, job_id, self.now, force=force, expected_version=None, status_details=None
            )
        )

    def delete(self, job_id: str) -> None:
        self._tried(lambda: job_control.delete(self.store, job_id, self.now, force=True, namespace=None))

    def delete_execution(self, job_id: str) -> None:
        latest = self.store.executions.latest(THING, job_id)
        if latest is not None:
            self._tried(
                lambda: execution_control.delete(
                    self.store, THING, job_id, latest.number, self.now, force=True, namespace=latest.namespace
                )
            )

    def remove(self, job_id: str) -> None:
        """The thing leaves the group that the job was for."""
        latest = self.store.executions.latest(THING, job_id)
        if latest is not None and latest.status.is_pending:
            lifecycle.end(self.store, latest, ServiceStatus.REMOVED, self.now)
            self._changed("service")

    def back_up(self) -> JobStore:
        """Return a copy of all jobs, to be restored later."""
        return copy.deepcopy(self.store)

    def restore(self, backup: JobStore) -> None:
        """Take the state of a backup: jobs, numbers and times are as they were, and what came later is forgotten."""
        backup._sequence = self.store._sequence  # what is created from now on is new to the oracle
        self.store = backup
        self._changed("service")

    def claim_for_other(self, job_id: str) -> None:
        """Another agent of the thing takes an execution that is queued."""
        latest = self.store.executions.latest(THING, job_id)
        if latest is not None and latest.status is ServiceStatus.QUEUED:
            change = device.Update(ServiceStatus.IN_PROGRESS, {"agent": OTHER_AGENT}, latest.version, latest.number)
            self._tried(
                lambda: device.update(self.store, THING, job_id, change, self.now, namespace=latest.namespace), "other"
            )

    def end_for_other(self, job_id: str) -> None:
        """Another agent reports what it had taken."""
        latest = self.store.executions.latest(THING, job_id)
        if latest is not None and is_others(latest):
            change = device.Update(ServiceStatus.SUCCEEDED, {"agent": OTHER_AGENT}, None, latest.number)
            self._tried(
                lambda: device.update(self.store, THING, job_id, change, self.now, namespace=latest.namespace), "other"
            )

    def _tried(self, operation: Callable[[], object], by: str = "service") -> None:
        try:
            operation()
        except Refused:
            return
        finally:
            self._changed(by)

    def _changed(self, by: str) -> None:
        """Keep what lists and descriptions showed from now on, and send what became due."""
        now = self.clock()
        for namespace in self.namespaces:
            shown = tuple(execution_id(e) for e in self.store.pending(THING, namespace))
            kept = self.lists[namespace]
            if not kept or kept[-1][1] != shown:
                kept.append((now, shown))
        for each in self.store.executions_of_thing(THING):
            seen, looks = _seen(each), self.looks[execution_id(each)]
            if not looks or looks[-1][1] != seen:
                looks.append((now, seen))
            key = (execution_id(each), each.sequence)
            record = self.records.setdefault(key, Record(*key, ExecutionStatus.QUEUED))
            if record.status != seen.status:
                record.status, record.by = seen.status, by
        for publication in self.store.take_publications():
            self.published(hint_of(publication))


def is_others(execution: JobExecution) -> bool:
    is_claimed = execution.status is ServiceStatus.IN_PROGRESS
    return is_claimed and (execution.status_details or {}).get("agent") == OTHER_AGENT


def hint_of(publication: Publication) -> Hint:
    name = publication.topic.rpartition("/")[2]
    kind, _, namespace = name.partition("-namespace-")
    payload = publication.payload
    if kind == "notify-next":
        entries = [payload["execution"]] if "execution" in payload else []
    else:
        entries = [*payload["jobs"].get("IN_PROGRESS", []), *payload["jobs"].get("QUEUED", [])]
    pending = tuple(ExecutionId(namespace, e["jobId"], e["executionNumber"]) for e in entries)
    return Hint(namespace, pending, kind == "notify")


def execution_id(execution: JobExecution) -> ExecutionId:
    return ExecutionId(execution.namespace, execution.job_id, execution.number)


def _seen(execution: JobExecution) -> Seen:
    claimed_by = (execution.status_details or {}).get("agent", "")
    return Seen(ExecutionStatus(execution.status.value), execution.version, claimed_by, int(execution.queued_at))
