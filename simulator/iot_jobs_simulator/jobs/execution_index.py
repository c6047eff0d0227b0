"""Every execution that is kept, and what finds it: by thing, by job, and the queues of pending ones. Pure."""

from collections import defaultdict

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.ordered import Ordered


class PendingQueue:
    """The pending executions of a thing in one namespace, in order. Knows which came and went since it was asked."""

    def __init__(self) -> None:
        self._ordered: Ordered[JobExecution] = Ordered(lambda execution: execution.place_in_queue)
        self._changed: set[tuple[str, int]] = set()

    def add(self, execution: JobExecution) -> None:
        """Put in at its place; whoever changes its place takes it out before and puts it in again."""
        self._ordered.add(execution)
        self._changed ^= {execution.identity}

    def remove(self, execution: JobExecution) -> None:
        """Take out again."""
        self._ordered.remove(execution)
        self._changed ^= {execution.identity}

    def first(self, count: int | None = None) -> tuple[JobExecution, ...]:
        """The executions that are next, as many as there are up to the count; all of them without one."""
        return tuple(self._ordered.first(len(self._ordered) if count is None else count))

    @property
    def head(self) -> JobExecution | None:
        """The next execution."""
        return next(iter(self._ordered), None)

    def take_changed(self) -> set[tuple[str, int]]:
        """Identities that came or went since the last call; what came and went again does not count."""
        taken, self._changed = self._changed, set()
        return taken


class Executions:
    """All executions. Changes nothing in them."""

    def __init__(self) -> None:
        self._by_thing_and_job: dict[tuple[str, str], list[JobExecution]] = {}
        self._of_thing: dict[str, Ordered[JobExecution]] = defaultdict(lambda: Ordered(newest_first))
        self._of_job: dict[str, Ordered[JobExecution]] = defaultdict(lambda: Ordered(by_thing))
        self._queues: dict[str, dict[str, PendingQueue]] = defaultdict(dict)

    def numbered(self, thing_name: str, job_id: str) -> list[JobExecution]:
        """The executions of a job on a thing, the latest last."""
        return self._by_thing_and_job.get((thing_name, job_id), [])

    def latest(self, thing_name: str, job_id: str) -> JobExecution | None:
        """The latest execution of a job on a thing; no other one can be pending."""
        executions = self.numbered(thing_name, job_id)
        return executions[-1] if executions else None

    def of_thing(self, thing_name: str) -> Ordered[JobExecution]:
        """Every execution of the thing, newest first."""
        return self._of_thing[thing_name] if thing_name in self._of_thing else Ordered(newest_first)

    def of_job(self, job_id: str) -> Ordered[JobExecution]:
        """Every execution of the job, by thing name and number."""
        return self._of_job[job_id] if job_id in self._of_job else Ordered(by_thing)

    def queue(self, thing_name: str, namespace: str) -> PendingQueue:
        """The queue of a thing in a namespace; `""` is the default one."""
        queues = self._queues[thing_name]
        if namespace not in queues:
            queues[namespace] = PendingQueue()
        return queues[namespace]

    def queues(self, thing_name: str) -> list[PendingQueue]:
        """The queues of a thing in all namespaces."""
        return list(self._queues[thing_name].values())

    def add(self, execution: JobExecution) -> None:
        """Keep a new execution, which is pending."""
        key = (execution.thing_name, execution.job_id)
        self._by_thing_and_job.setdefault(key, []).append(execution)
        self._of_thing[execution.thing_name].add(execution)
        self._of_job[execution.job_id].add(execution)
        self.queue(execution.thing_name, execution.namespace).add(execution)

    def remove(self, execution: JobExecution) -> None:
        """Forget an execution."""
        key = (execution.thing_name, execution.job_id)
        self._by_thing_and_job[key].remove(execution)
        if not self._by_thing_and_job[key]:
            del self._by_thing_and_job[key]
        self._of_thing[execution.thing_name].remove(execution)
        self._of_job[execution.job_id].remove(execution)
        if execution.is_listed:
            self.queue(execution.thing_name, execution.namespace).remove(execution)

    def forget_job(self, job_id: str) -> None:
        """Forget the index of a job that has no executions any more."""
        self._of_job.pop(job_id, None)


def newest_first(execution: JobExecution) -> tuple[int]:
    """The order of the executions of a thing."""
    return (-execution.sequence,)


def by_thing(execution: JobExecution) -> tuple[str, int]:
    """The order of the executions of a job."""
    return (execution.thing_name, execution.number)
