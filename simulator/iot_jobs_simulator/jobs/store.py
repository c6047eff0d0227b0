"""All jobs and executions, and the one way to change the executions of a thing: `changing`, which owes notifications.

Notifications collect in the store in the order in which they are due; whoever called a rule takes them with
`take_publications` at once and sends them after its own answer (developer guide, page jobs-comm-notifications).
What follows from a change (retry, completion) is the business of `lifecycle`.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from iot_jobs_simulator.jobs import events, notifications
from iot_jobs_simulator.jobs.agenda import Agenda, Batch, Deed, TimeOut
from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.execution_index import Executions, PendingQueue
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.job_index import JobIndex
from iot_jobs_simulator.jobs.notifications import Publication, QueuePlace
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.template import JobTemplates
from iot_jobs_simulator.jobs.views import Pending
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.refusals import invalid, not_found
from iot_jobs_simulator.registry.tags import Tags
from iot_jobs_simulator.registry.things import Registry


class Documents:
    """Where job documents come from and what is delivered of them: here, without an object store, the text itself."""

    def read_source(self, url: str) -> str:
        """The text of the object that a documentSource names; raises Refused where there is none."""
        raise invalid(f"The object {url} cannot be read: this simulator has no object store")

    def deliver(self, document: str, presigned_url_config: Mapping[str, Any], execution: JobExecution) -> str:
        """What one delivery of a job document reads; placeholders are replaced here."""
        del presigned_url_config, execution
        return document


@dataclass(slots=True)
class JobStore:
    """The state of the service."""

    registry: Registry = field(default_factory=Registry)
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    jobs: dict[str, Job] = field(default_factory=dict)
    index: JobIndex = field(default_factory=JobIndex)
    executions: Executions = field(default_factory=Executions)
    agenda: Agenda = field(default_factory=Agenda)
    batches: deque[Batch] = field(default_factory=deque)
    tags: Tags = field(default_factory=Tags)
    templates: JobTemplates = field(default_factory=JobTemplates)
    event_switches: events.EventSwitches = field(default_factory=events.EventSwitches)
    deletions: set[str] = field(default_factory=set)
    _continuous: dict[str, dict[str, Job]] = field(default_factory=lambda: defaultdict(dict))
    documents: Documents = field(default_factory=Documents)
    # By how much the executions of a new job come later: of what the settings say, what holds this time. In seconds.
    rollout_delay_s: Callable[[float], float] = lambda usual_s: usual_s
    _publications: list[Publication] = field(default_factory=list)
    _events: list[Publication] = field(default_factory=list)
    _concurrent: dict[str, Job] = field(default_factory=dict)
    _sequence: int = 0

    def find_job(self, job_id: str, *, namespace: str | None = None) -> Job:
        """The job, or ResourceNotFound; also if it is in another namespace than the one that is named."""
        job = self.jobs.get(job_id)
        if job is None or namespace not in (None, job.request.namespace):
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
        for execution in self.executions.latest_first(thing_name, job_id):
            if number in (None, execution.number) and namespace in (None, execution.namespace):
                return execution
        numbered = f" with execution number {number}" if number is not None else ""
        raise not_found(f"No execution of job {job_id} on thing {thing_name}{numbered}")

    def executions_of_thing(self, thing_name: str) -> Iterable[JobExecution]:
        """Every execution kept for the thing, newest first."""
        return self.executions.of_thing(thing_name)

    def executions_of_job(self, job_id: str) -> Iterable[JobExecution]:
        """Every execution kept for the job, by thing name and number."""
        return self.executions.of_job(job_id)

    def pending(self, thing_name: str, namespace: str) -> Pending:
        """The thing's pending executions in one namespace, in order."""
        return tuple(self.executions.find_queue(thing_name, namespace) or ())

    def pending_list(self, thing_name: str, namespace: str) -> Pending:
        """As many of them as a list shows (page job-limits)."""
        queue = self.executions.find_queue(thing_name, namespace)
        return self._shown(queue) if queue is not None else ()

    def next_pending(self, thing_name: str, namespace: str) -> JobExecution | None:
        """The first of them; None if nothing is pending."""
        queue = self.executions.find_queue(thing_name, namespace)
        return queue.head if queue is not None else None

    def document(self, execution: JobExecution) -> str:
        """The text of the job document that the execution runs, as it is delivered now."""
        request = self.jobs[execution.job_id].request
        return self.documents.deliver(request.document, request.presigned_url_config, execution)

    def add_job(self, job: Job) -> None:
        """Take a new job in."""
        self.jobs[job.job_id] = job
        self._concurrent[job.job_id] = job
        self._note(job)

    def start_batch(self, job: Job, deed: Deed, things: Iterable[str], now: float) -> None:
        """Have something done to many things of a job, as of now."""
        job.batches += 1
        self._concurrent[job.job_id] = job
        self.batches.append(Batch(job, deed, now, things))

    def has_room_for_concurrent(self) -> bool:
        """Whether another job may become concurrent; those that are none any more are forgotten here."""
        if len(self._concurrent) >= self.settings.concurrent_jobs:
            self._concurrent = {job_id: job for job_id, job in self._concurrent.items() if job.is_concurrent}
        return len(self._concurrent) < self.settings.concurrent_jobs

    @contextmanager
    def reindexing(self, job: Job) -> Iterator[None]:
        """Every change of a job's status and of its target groups happens in here."""
        self.index.remove(job)
        for group_id in job.group_ids:
            self._continuous[group_id].pop(job.job_id, None)
            if not self._continuous[group_id]:
                del self._continuous[group_id]
        yield
        self._note(job)

    def remove_job(self, job: Job) -> None:
        """Forget a job whose executions are gone."""
        with self.reindexing(job):
            job.group_ids = ()
        self.index.remove(job)
        self.executions.forget_job(job.job_id)
        self.tags.end(job.arn)
        self._concurrent.pop(job.job_id, None)
        del self.jobs[job.job_id]

    def is_target(self, job: Job, thing_name: str) -> bool:
        """Whether the job is for the thing now, by its name or by a group that it is in."""
        is_named = arn(f"thing/{thing_name}") in job.request.targets
        return is_named or self.registry.groups.is_in_any(thing_name, job.group_ids)

    def is_kept(self, job: Job, thing_name: str) -> bool:
        """Whether a thing that the job was for still gets executions of it. A SNAPSHOT job loses none of its things."""
        return not job.is_continuous or self.is_target(job, thing_name)

    def continuous_jobs(self, group_ids: Iterable[str]) -> list[Job]:
        """The active CONTINUOUS jobs that have one of these groups among their targets, the oldest first."""
        found: dict[str, Job] = {}
        for group_id in group_ids:
            found |= self._continuous.get(group_id, {})
        return sorted(found.values(), key=lambda job: job.created_at)

    def queue(
        self, job: Job, thing_name: str, now: float, *, retries: tuple[ExecutionStatus, ...] = ()
    ) -> JobExecution:
        """Add the thing's next execution of the job. Call inside `changing`."""
        previous = self.executions.latest(thing_name, job.job_id)
        self._sequence += 1
        execution = JobExecution(
            job_id=job.job_id,
            thing_name=thing_name,
            namespace=job.request.namespace,
            number=previous.number + 1 if previous is not None else 1,
            sequence=self._sequence,
            queued_at=now,
            last_updated_at=now,
            retries=retries,
            has_windows=bool(job.request.scheduling_config.get("maintenanceWindows")),
        )
        self.executions.add(execution)
        job.executions[execution.status] += 1
        return execution

    def move(self, execution: JobExecution, status: ExecutionStatus, now: float) -> None:
        """Set the status of the latest execution, which is pending. Call inside `changing`."""
        job = self.jobs[execution.job_id]
        queue = self.executions.queue(execution.thing_name, execution.namespace)
        if execution.is_listed:
            queue.remove(execution)
        job.executions[execution.status] -= 1
        execution.move_to(status, now, job.request.timeout_config.get("inProgressTimeoutInMinutes"))
        job.executions[status] += 1
        if status.is_pending:
            queue.add(execution)
        else:
            self._note_end(execution, status, now)
        self.watch(execution)

    def hide(self, execution: JobExecution) -> None:
        """Take a QUEUED execution from its thing's pending list for now. Call inside `changing`."""
        self.executions.queue(execution.thing_name, execution.namespace).remove(execution)
        execution.is_hidden = True

    def reveal(self, execution: JobExecution) -> None:
        """Put a hidden execution back into its thing's pending list. Call inside `changing`."""
        execution.is_hidden = False
        self.executions.queue(execution.thing_name, execution.namespace).add(execution)

    def remove(self, execution: JobExecution, now: float) -> None:
        """Forget an execution. Call inside `changing`."""
        self._note_end(execution, "DELETED", now)
        self.executions.remove(execution)
        execution.stop_timers()
        job = self.jobs[execution.job_id]
        job.executions[execution.status] -= 1
        job.retried[execution.status] -= execution.was_retried

    def watch(self, execution: JobExecution) -> None:
        """See to it that the agenda looks at the execution's deadline in time; to be called when it may be earlier."""
        deadline = execution.deadline
        if deadline is not None and (execution.watched_from is None or deadline < execution.watched_from):
            execution.watched_from = deadline
            self.agenda.add(deadline + self.settings.timeout_lag_s, TimeOut(execution, deadline))

    @contextmanager
    def changing(self, thing_name: str, namespace: str, now: float, *, is_silent: bool = False) -> Iterator[None]:
        """Every change of a thing's executions in a namespace happens in here; it makes publications due.

        First the notifications, unless it is silent, and then the events.
        """
        place = QueuePlace(thing_name, namespace)
        queue = self.executions.queue(thing_name, namespace)
        next_before = self._next_identity(place, queue)
        yield
        changed = queue.take_changed()
        if not is_silent:
            self._notify(place, queue, changed, next_before, now)
        if queue.head is None:
            self.executions.forget_queue(thing_name, namespace)
        if self._events:
            self._publications += self._events
            self._events = []

    def _notify(
        self,
        place: QueuePlace,
        queue: PendingQueue,
        changed: set[tuple[str, int]],
        next_before: tuple[str, int] | None,
        now: float,
    ) -> None:
        if changed:
            pending = self._shown(queue)
            self._publications.append(notifications.notify(place, pending, now))
            if place.namespace and self.settings.namespace_topic_of_api_text:
                self._publications.extend(notifications.notify_by_job(place, pending, changed, now))
        if next_before != self._next_identity(place, queue):
            head = queue.head
            document = self.document(head) if head is not None else None
            self._publications.append(notifications.notify_next(place, head, document, now))

    def set_status(self, job: Job, status: JobStatus, now: float) -> None:
        """Move a job to another status."""
        with self.reindexing(job):
            job.status = status
        job.last_updated_at = now

    def publish_event(self, job: Job, operation: str, now: float) -> None:
        """Tell of a job, if somebody wants to know."""
        if self.event_switches.is_on(events.OF_JOBS):
            self._publications.append(events.of_job(job, operation, now))

    def take_publications(self) -> list[Publication]:
        """What is due for publication, in order; the caller sends it."""
        taken, self._publications = self._publications, []
        return taken

    def _shown(self, queue: PendingQueue) -> Pending:
        return queue.shown(self.settings.list_cap, self.settings.window_list_cap)

    def _next_identity(self, place: QueuePlace, queue: PendingQueue) -> tuple[str, int] | None:
        head = queue.head
        if self.settings.next_is_judged_over_namespaces:
            heads = [each.head for each in self.executions.queues(place.thing_name) if each.head is not None]
            head = min(heads, key=lambda execution: execution.place_in_queue, default=None)
        return head.identity if head is not None else None

    def _note_end(self, execution: JobExecution, status: str, now: float) -> None:
        if self.event_switches.is_on(events.OF_EXECUTIONS):
            self._events.append(events.of_execution(execution, status, now))

    def _note(self, job: Job) -> None:
        self.index.add(job)
        if job.is_continuous and job.is_active:
            for group_id in job.group_ids:
                self._continuous[group_id][job.job_id] = job
