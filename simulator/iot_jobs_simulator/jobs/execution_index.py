"""Every execution that is kept, and what finds it: by thing, by job, and the queues of pending ones. Pure.

Most of what a simulator keeps is in here, thing by thing: each object more is one for the garbage collector to look at.
"""

import heapq
from collections.abc import Iterator
from typing import TypeAlias

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.ordered import Ordered

_Place: TypeAlias = str | tuple[str, str]  # a thing in the default namespace, or in another one


class PendingQueue:
    """The pending executions of a thing in one namespace, in order. Knows which came and went since it was asked.

    Those of jobs with maintenance windows are kept apart, because lists show so many of them and so many others.
    """

    __slots__ = ("_changed", "_ordinary", "_windowed")

    def __init__(self) -> None:
        self._ordinary: Ordered[JobExecution] = Ordered(by_place_in_queue)
        self._windowed: Ordered[JobExecution] | None = None  # most things never have one
        self._changed: set[tuple[str, int]] | None = None

    def __iter__(self) -> Iterator[JobExecution]:
        return heapq.merge(self._ordinary, self._windowed or (), key=by_place_in_queue)

    def add(self, execution: JobExecution) -> None:
        """Put in at its place; whoever changes its place takes it out before and puts it in again."""
        self._part(execution).add(execution)
        self._note(execution)

    def remove(self, execution: JobExecution) -> None:
        """Take out again."""
        self._part(execution).remove(execution)
        self._note(execution)

    def shown(self, ordinary: int, windowed: int) -> tuple[JobExecution, ...]:
        """What a list shows: the first executions of jobs without maintenance windows and of those with some."""
        first = self._ordinary.first(ordinary)
        if self._windowed is not None:
            first = sorted((*first, *self._windowed.first(windowed)), key=by_place_in_queue)
        return tuple(first)

    @property
    def head(self) -> JobExecution | None:
        """The next execution."""
        if self._windowed is None or self._windowed.head is None:
            return self._ordinary.head
        return min(self._windowed.head, self._ordinary.head or self._windowed.head, key=by_place_in_queue)

    def take_changed(self) -> set[tuple[str, int]]:
        """Identities that came or went since the last call; what came and went again does not count."""
        taken, self._changed = self._changed, None
        return taken or set()

    def _part(self, execution: JobExecution) -> Ordered[JobExecution]:
        if not execution.has_windows:
            return self._ordinary
        if self._windowed is None:
            self._windowed = Ordered(by_place_in_queue)
        return self._windowed

    def _note(self, execution: JobExecution) -> None:
        self._changed = (self._changed or set()) ^ {execution.identity}


class _ExecutionsOfJob:
    """In order, and the latest one of each thing."""

    __slots__ = ("latest", "ordered")

    def __init__(self) -> None:
        self.ordered: Ordered[JobExecution] = Ordered(by_thing)
        self.latest: dict[str, JobExecution] = {}


class Executions:
    """All executions. Changes nothing in them, but what each came after."""

    def __init__(self) -> None:
        self._of_thing: dict[str, Ordered[JobExecution]] = {}
        self._of_job: dict[str, _ExecutionsOfJob] = {}
        self._queues: dict[_Place, PendingQueue] = {}
        self._namespaces: set[str] = set()

    def latest_first(self, thing_name: str, job_id: str) -> Iterator[JobExecution]:
        """The executions of a job on a thing, the latest one first."""
        execution = self.latest(thing_name, job_id)
        while execution is not None:
            yield execution
            execution = execution.previous

    def latest(self, thing_name: str, job_id: str) -> JobExecution | None:
        """The latest execution of a job on a thing; no other one can be pending."""
        of_job = self._of_job.get(job_id)
        return of_job.latest.get(thing_name) if of_job is not None else None

    def of_thing(self, thing_name: str) -> Ordered[JobExecution]:
        """Every execution of the thing, newest first."""
        return self._of_thing[thing_name] if thing_name in self._of_thing else Ordered(newest_first)

    def of_job(self, job_id: str) -> Ordered[JobExecution]:
        """Every execution of the job, by thing name and number."""
        return self._of_job[job_id].ordered if job_id in self._of_job else Ordered(by_thing)

    def queue(self, thing_name: str, namespace: str) -> PendingQueue:
        """The queue of a thing in a namespace; `""` is the default one."""
        place = _place(thing_name, namespace)
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = PendingQueue()
            self._namespaces.add(namespace)
        return queue

    def queues(self, thing_name: str) -> list[PendingQueue]:
        """The queues of a thing in all namespaces."""
        places = (_place(thing_name, namespace) for namespace in self._namespaces)
        return [self._queues[place] for place in places if place in self._queues]

    def add(self, execution: JobExecution) -> None:
        """Keep a new execution, which is pending."""
        if execution.thing_name not in self._of_thing:
            self._of_thing[execution.thing_name] = Ordered(newest_first)
        of_job = self._of_job.get(execution.job_id)
        if of_job is None:
            of_job = self._of_job[execution.job_id] = _ExecutionsOfJob()
        self._of_thing[execution.thing_name].add(execution)
        of_job.ordered.add(execution)
        execution.previous = of_job.latest.get(execution.thing_name)
        of_job.latest[execution.thing_name] = execution
        self.queue(execution.thing_name, execution.namespace).add(execution)

    def remove(self, execution: JobExecution) -> None:
        """Forget an execution."""
        of_job = self._of_job[execution.job_id]
        executions = self.latest_first(execution.thing_name, execution.job_id)
        later = next((each for each in executions if each.previous is execution), None)
        if later is not None:
            later.previous = execution.previous
        elif execution.previous is not None:
            of_job.latest[execution.thing_name] = execution.previous
        else:
            del of_job.latest[execution.thing_name]
        execution.previous = None
        self._of_thing[execution.thing_name].remove(execution)
        of_job.ordered.remove(execution)
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


def by_place_in_queue(execution: JobExecution) -> tuple[bool, float, int]:
    """The order of the pending executions of a thing."""
    return execution.place_in_queue


def _place(thing_name: str, namespace: str) -> _Place:
    return (thing_name, namespace) if namespace else thing_name
