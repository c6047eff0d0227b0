"""Request topics of the device plane: which operation of which thing a topic names. Pure.

Developer guide, page reserved-topics. Parsed by the number of segments, since a job may be called `get` or `notify`.
"""

from dataclasses import dataclass

_NAMESPACE = "namespace-"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a topic asks for; `operation` is None if nothing answers there. `""` is the default namespace."""

    thing_name: str
    operation: str | None
    job_id: str | None = None
    namespace: str = ""


def parse(topic: str) -> DeviceRequest | None:
    """The request a topic stands for, or None outside `$aws/things/THING/jobs/`."""
    match topic.split("/"):
        case ["$aws", "things", thing_name, "jobs", *rest] if rest:
            return _parse_below_jobs(thing_name, rest)
        case _:
            return None


def _parse_below_jobs(thing_name: str, segments: list[str]) -> DeviceRequest:
    by_job = {"get": "DescribeJobExecution", "update": "UpdateJobExecution"}
    match segments:
        case ["get"]:
            return DeviceRequest(thing_name, "GetPendingJobExecutions")
        case ["start-next"]:
            return DeviceRequest(thing_name, "StartNextPendingJobExecution")
        case [job_id, verb]:
            return DeviceRequest(thing_name, by_job.get(verb), job_id)
        case [job_id, namespace, verb] if namespace.startswith(_NAMESPACE) and namespace != _NAMESPACE:
            return DeviceRequest(thing_name, by_job.get(verb), job_id, namespace.removeprefix(_NAMESPACE))
        case _:
            return DeviceRequest(thing_name, None)


def notification(topic: str) -> tuple[str, str] | None:
    """Thing and name of a notification's topic: `notify`, `notify-next`, namespaced forms without the namespace."""
    match topic.split("/"):
        case ["$aws", "things", thing_name, "jobs", *rest] if rest:
            last = rest[-1] or rest[-2]
            return thing_name, last.split(f"-{_NAMESPACE}")[0]
        case _:
            return None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT filter covers a topic. `$next` and a `$aws` in front are ordinary words here."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        return _levels_match(wanted[:-1], found[: len(wanted) - 1])
    return _levels_match(wanted, found)


def _levels_match(wanted: list[str], found: list[str]) -> bool:
    return len(wanted) == len(found) and all(level in ("+", at) for level, at in zip(wanted, found, strict=True))
