"""All jobs and executions, and the one way to change the executions of a thing: `changing`, which owes notifications.

Notifications collect in the store in the order in which they are due; whoever called a rule takes them with
`take_publications` at once and sends them after its own answer (developer guide, page jobs-comm-notifications).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from simulator.jobs import notifications
from simulator.jobs.execution import ExecutionStatus, JobExecution
from simulator.jobs.job import Job, JobStatus
from simulator.jobs.notifications import Publication
from simulator.jobs.views import Pending
from simulator.refusals import not_found
from simulator.registry import Registry


@dataclass(frozen=True, slots=True)
class Settings:
    """Where AWS leaves a choice, or a test wants another one."""

    rollout_delay_s: float = 0.0
    namespace_topic_of_api_text: bool = True


@dataclass(slots=True)
class JobStore:
    """The state of the service."""

    registry: Registry = field(default_factory=Registry)
    settings: Settings = field(default_factory=Settings)
    jobs: dict[str, Job] = field(default_factory=dict)
    rollouts: list[tuple[float, str]] = field(default_factory=list)
    # Makes of a job document what one delivery of it reads; placeholders are replaced here.
    deliver: Callable[[str, Job, JobExecution], str] = lambda document, _job, _execution: document
    _executions: dict[str, dict[str, list[JobExecution]]] = field(default_factory=lambda: defaultdict(dict))
    _publications: list[Publication] = field(default_factory=list)
    _sequence: int = 0

    def find_job(self, job_id: str) -> Job:
        """The job, or ResourceNotFound."""
        job = self.jobs.get(job_id)
        if job is None:
            raise not_found(f"Job {job_id} does not exist")
        return job

    def find_execution(
        self, thing_name: str, job_id: str, number: int | None = None, *, namespace: str | None = None
    ) -> JobExecution:
        """The latest execution, or the one of that number, or ResourceNotFound.

        A namespaced job is found by its own namespace's topics only; `namespace=None` stands for callers that
        address by job id alone (HTTP, operators).
        """
        self.registry.find(thing_name)
        for execution in reversed(self._executions[thing_name].get(job_id, [])):
            if number in (None, execution.number) and namespace in (None, execution.namespace):
                return execution
        numbered = f" with execution number {number}" if number is not None else ""
        raise not_found(f"No execution of job {job_id} on thing {thing_name}{numbered}")

    def executions_of_thing(self, thing_name: str) -> Iterator[JobExecution]:
        """Every execution kept for the thing."""
        for executions in self._executions[thing_name].values():
            yield from executions

    def executions_of_job(self, job_id: str) -> Iterator[JobExecution]:
        """Every execution kept for the job, by thing name and number."""
        for thing_name in sorted(self._executions):
            yield from self._executions[thing_name].get(job_id, [])

    def pending(self, thing_name: str, namespace: str) -> Pending:
        """The thing's visible pending list in one namespace, in order, with the documents that go with it."""
        executions = [
            execution
            for execution in self.executions_of_thing(thing_name)
            if execution.status.is_pending and execution.namespace == namespace
        ]
        executions.sort(key=lambda execution: execution.place_in_queue)
        return tuple(executions)

    def document(self, execution: JobExecution) -> str:
        """The text of the job document that the execution runs, as it is delivered now."""
        job = self.jobs[execution.job_id]
        return self.deliver(job.request.document, job, execution)

    def queue(self, job: Job, thing_name: str, now: float) -> None:
        """Add the thing's next execution of the job. Call inside `changing`."""
        executions = self._executions[thing_name].setdefault(job.job_id, [])
        self._sequence += 1
        executions.append(
            JobExecution(
                job_id=job.job_id,
                thing_name=thing_name,
                namespace=job.request.namespace,
                number=len(executions) + 1,
                sequence=self._sequence,
                queued_at=now,
                last_updated_at=now,
            )
        )

    @contextmanager
    def changing(self, thing_name: str, namespace: str, now: float) -> Iterator[None]:
        """Every change of a thing's executions in a namespace happens in here; it makes publications due."""
        before = self.pending(thing_name, namespace)
        heads_before = before[0].identity if before else None
        identities_before = {execution.identity for execution in before}
        yield
        after = self.pending(thing_name, namespace)
        identities_after = {execution.identity for execution in after}
        place = notifications.Place(thing_name, namespace)
        if identities_before != identities_after:
            self._publications.append(notifications.notify(place, after, now))
            if namespace and self.settings.namespace_topic_of_api_text:
                changed = sorted(identities_before ^ identities_after)
                self._publications.extend(notifications.notify_by_job(place, after, changed, now))
        if heads_before != (after[0].identity if after else None):
            document = self.document(after[0]) if after else None
            self._publications.append(notifications.notify_next(place, after, document, now))

    def settle(self, job_id: str, now: float) -> None:
        """A snapshot job is COMPLETED once rolled out and all its executions are terminal, however they ended."""
        job = self.jobs[job_id]
        if job.status is not JobStatus.IN_PROGRESS or job.waiting_things:
            return
        if all(not execution.status.is_pending for execution in self.executions_of_job(job_id)):
            job.status = JobStatus.COMPLETED
            job.completed_at = job.last_updated_at = now

    def cancel(self, execution: JobExecution, now: float, *, is_forced: bool) -> None:
        """Move one pending execution to CANCELED and say so to the thing."""
        with self.changing(execution.thing_name, execution.namespace, now):
            execution.move_to(ExecutionStatus.CANCELED, now)
            execution.is_force_canceled = is_forced

    def take_publications(self) -> list[Publication]:
        """What is due for publication, in order; the caller sends it."""
        taken, self._publications = self._publications, []
        return taken
