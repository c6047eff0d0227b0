"""Jobs in the order in which ListJobs shows them, for every combination of its filters. Pure.

A job of one group stands in four lists of its status (with and without its group, with and without its target
selection), so that no page reads a job that it does not show.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Final, TypeAlias

from iot_jobs_simulator.jobs.job import ACTIVE, Job, JobStatus
from iot_jobs_simulator.ordered import Key, Ordered

_RANK: Final = {status: rank for rank, status in enumerate(JobStatus)}
_Facet: TypeAlias = tuple[JobStatus, str, str | None, str | None]


def place(job: Job) -> Key:
    """Grouped by status, newest first (developer guide, page manage-job-cli)."""
    return (_RANK[job.status], -job.created_at, job.job_id)


class JobIndex:
    """Which jobs there are, by status, namespace, target group and target selection."""

    def __init__(self) -> None:
        self._lists: dict[_Facet, Ordered[Job]] = defaultdict(lambda: Ordered(place))
        self._counts: Counter[JobStatus] = Counter()

    @property
    def active(self) -> int:
        """How many jobs are active, in all namespaces together."""
        return sum(self._counts[status] for status in ACTIVE)

    def add(self, job: Job) -> None:
        """Put in; take out before anything changes that it is found by, and put in again."""
        self._counts[job.status] += 1
        for facet in _facets(job):
            self._lists[facet].add(job)

    def remove(self, job: Job) -> None:
        """Take out."""
        self._counts[job.status] -= 1
        for facet in _facets(job):
            self._lists[facet].remove(job)
            if not self._lists[facet]:
                del self._lists[facet]

    def after(
        self,
        key: Key | None,
        *,
        namespace: str,
        status: str | None = None,
        group_id: str | None = None,
        target_selection: str | None = None,
    ) -> Iterator[tuple[Key, Job]]:
        """The jobs that all the filters let through, from a place on; None filters nothing."""
        for each in JobStatus if status is None else [JobStatus(status)]:
            facet = (each, namespace, group_id, target_selection)
            if facet in self._lists:
                yield from self._lists[facet].after(key)


def _facets(job: Job) -> Iterator[_Facet]:
    groups = (None, *job.group_ids)
    selections = (None, str(job.request.target_selection))
    for group_id, selection in product(groups, selections):
        yield (job.status, job.request.namespace, group_id, selection)
