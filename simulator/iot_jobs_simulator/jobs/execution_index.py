"""Every execution that is kept, and what finds it: by thing, by job, and the queues of pending ones. Pure.

Most of what a simulator keeps is in here, thing by thing: each object more is one for the garbage collector to look at.
So what a thing has is in plain lists, and only a job, which may have a hundred thousand executions, in chunks.
"""

import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.ordered import Key, Ordered, insert, take_out

_Place: TypeAlias = str | tuple[str, str]  # a thing in the default namespace, or in another one


class PendingQueue:
    """The pending executions of a thing in one namespace, in order. Knows which came and went since it was asked.

    Those of jobs with maintenance windows are kept apart, because lists show so many of them and so many others. The
    first one needs no list, because a thing seldom has more, and each step on the way to it is a cache miss.
    """

    __slots__ = ("_changed", "_first", "_others", "_windowed")

    def __init__(self) -> None:
        self._first: JobExecution | None = None  # of the ordinary ones, and often the only one
        self._others: list[JobExecution] | None = None
        self._windowed: list[JobExecution] | None = None
        self._changed: set[tuple[str, int]] | None = None

    def __iter__(self) -> Iterator[JobExecution]:
        first = () if self._first is None else (self._first,)
        return heapq.merge(first, self._others or (), self._windowed or (), key=by_place_in_queue)

    def add(self, execution: JobExecution) -> None:
        """Put in at its place; whoever changes its place takes it out before and puts it in again."""
        if execution.has_windows:
            self._windowed = self._windowed or []
            insert(self._windowed, execution, by_place_in_queue)
        elif self._first is None:
            self._first = execution
        else:
            self._others = self._others or []
            self._first, later = sorted((self._first, execution), key=by_place_in_queue)
            insert(self._others, later, by_place_in_queue)
        self._note(execution)

    def remove(self, execution: JobExecution) -> None:
        """Take out again."""
        if self._first is execution:
            self._first = self._others.pop(0) if self._others else None
        else:
            rest = self._windowed if execution.has_windows else self._others
            take_out(rest or [], execution, by_place_in_queue)
        self._note(execution)

    def shown(self, ordinary: int, windowed: int) -> tuple[JobExecution, ...]:
        """What a list shows: the first executions of jobs without maintenance windows and of those with some."""
        if self._first is None:
            return tuple(self._windowed[:windowed]) if self._windowed else ()
        first = (self._first, *(self._others or ())[: ordinary - 1])
        if not self._windowed:
            return first
        return tuple(sorted((*first, *self._windowed[:windowed]), key=by_place_in_queue))

    @property
    def head(self) -> JobExecution | None:
        """The next execution."""
        if not self._windowed:
            return self._first
        return min(self._first or self._windowed[0], self._windowed[0], key=by_place_in_queue)

    def take_changed(self) -> set[tuple[str, int]]:
        """Identities that came or went since the last call; what came and went again does not count."""
        taken, self._changed = self._changed, None
        return taken or set()

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
        self._of_thing: dict[str, list[JobExecution]] = defaultdict(list)  # the newest last
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

    def of_thing(self, thing_name: str, key: Key | None = None) -> Iterator[JobExecution]:
        """Every execution of the thing, newest first; with a key, those behind it, whether one has it or not."""
        executions = self._of_thing.get(thing_name, [])
        count = len(executions) if key is None else bisect_left(executions, -key[0], key=by_sequence)
        return (executions[at] for at in range(count - 1, -1, -1))

    def of_job(self, job_id: str) -> Ordered[JobExecution]:
        """Every execution of the job, by thing name and number."""
        return self._of_job[job_id].ordered if job_id in self._of_job else Ordered(by_thing)

    def queue(self, thing_name: str, namespace: str) -> PendingQueue:
        """The queue of a thing in a namespace, to put something in or take something out; `""` is the default one."""
        place = _place(thing_name, namespace)
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = PendingQueue()
            self._namespaces.add(namespace)
        return queue

    def find_queue(self, thing_name: str, namespace: str) -> PendingQueue | None:
        """The queue of a thing in a namespace; None if nothing is pending."""
        return self._queues.get(_place(thing_name, namespace))

    def forget_queue(self, thing_name: str, namespace: str) -> None:
        """Forget a queue that is empty."""
        del self._queues[_place(thing_name, namespace)]

    def queues(self, thing_name: str) -> list[PendingQueue]:
        """The queues of a thing in all namespaces."""
        places = (_place(thing_name, namespace) for namespace in self._namespaces)
        return [self._queues[place] for place in places if place in self._queues]

    def add(self, execution: JobExecution) -> None:
        """Keep a new execution, which is pending."""
        of_job = self._of_job.get(execution.job_id)
        if of_job is None:
            of_job = self._of_job[execution.job_id] = _ExecutionsOfJob()
        self._of_thing[execution.thing_name].append(execution)
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
        take_out(self._of_thing[execution.thing_name], execution, by_sequence)
        if not self._of_thing[execution.thing_name]:
            del self._of_thing[execution.thing_name]
        of_job.ordered.remove(execution)
        if execution.is_listed:
            self.queue(execution.thing_name, execution.namespace).remove(execution)

    def forget_job(self, job_id: str) -> None:
        """Forget the index of a job that has no executions any more."""
        self._of_job.pop(job_id, None)


def key_of_thing(execution: JobExecution) -> Key:
    """The place among the executions of a thing, newest first."""
    return (-execution.sequence,)


def by_sequence(execution: JobExecution) -> int:
    """The order in which executions were queued."""
    return execution.sequence


def by_thing(execution: JobExecution) -> tuple[str, int]:
    """The order of the executions of a job."""
    return (execution.thing_name, execution.number)


def by_place_in_queue(execution: JobExecution) -> tuple[bool, float, int]:
    """The order of the pending executions of a thing."""
    return execution.place_in_queue


def _place(thing_name: str, namespace: str) -> _Place:
    return (thing_name, namespace) if namespace else thing_name
