"""The messages that tell a thing about its pending list (developer guide, page jobs-comm-notifications).

Owns their topics and payloads. When they are due is the store's business: notify when the set of executions changed,
notify-next when the first one became another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.views import Json, Pending, by_status, next_execution
from iot_jobs_simulator.payloads import Verbatim


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for whoever subscribed to the topic."""

    topic: str
    payload: Json


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Whose list: a thing's, in one namespace; `""` is the default one."""

    thing_name: str
    namespace: str

    def topic(self, kind: str) -> str:
        """The topic of `notify` or `notify-next`; the namespaced form is the one that shipped clients use."""
        suffix = f"-namespace-{self.namespace}" if self.namespace else ""
        return f"$aws/things/{self.thing_name}/jobs/{kind}{suffix}"


def notify(place: QueuePlace, pending: Pending, now: float) -> Publication:
    """The whole list, by status; a status without entries is left out."""
    return Publication(place.topic("notify"), _list_payload(pending, now))


def notify_by_job(
    place: QueuePlace, pending: Pending, changed: Iterable[tuple[str, int]], now: float
) -> Iterator[Publication]:
    """The same on the topics that the API reference prints, once for each job added or removed; mind the last slash."""
    for job_id in sorted({job_id for job_id, _ in changed}):
        topic = f"$aws/things/{place.thing_name}/jobs/{job_id}/notify-namespace-{place.namespace}/"
        yield Publication(topic, _list_payload(pending, now))


def notify_next(place: QueuePlace, head: JobExecution | None, document: str | None, now: float) -> Publication:
    """The first execution with its document, or nothing but the time."""
    payload: Json = {"timestamp": int(now)}
    if head is not None and document is not None:
        payload["execution"] = next_execution(head, Verbatim(document), now)
    return Publication(place.topic("notify-next"), payload)


def _list_payload(pending: Pending, now: float) -> Json:
    lists = {str(status): entries for status, entries in by_status(pending).items() if entries}
    return {"timestamp": int(now), "jobs": lists}
