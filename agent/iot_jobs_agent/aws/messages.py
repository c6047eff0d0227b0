"""Converts the service's topics and JSON from and to the core's nouns. Pure; knows nothing of the SDK that sends them.

Sources: AWS IoT developer guide, pages jobs-mqtt-api, jobs-comm-notifications, jobs-api. The topics with a namespace
are the ones that shipped clients use, plus the one that the API reference prints (docs/decisions.md). Unknown members
are ignored, and a member that we do not need may be missing.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus
from iot_jobs_agent.core.value import dataclass, field
from iot_jobs_agent.errors import AgentError, RequestRefused

Json: TypeAlias = Mapping[str, Any]

_LARGEST = 2**63 - 1  # the service's numbers are of type long, and SQLite's integers have 64 bits too
_JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # API reference, CreateJob, jobId


class MalformedMessageError(AgentError):
    """The service, or somebody in its name, sent something that its documentation rules out. We ignore the message."""


# AWS IoT Core message broker limits, "Message payload size", and what surrounds a document that is as large as that.
LARGEST_BYTES = 132 * 1024


@dataclass(frozen=True, slots=True)
class ServiceExecution:
    """A job execution as the service describes it. `document` is any JSON value and may contain secrets.

    `queued_at` is in whole epoch seconds, 0 if the service did not say.
    """

    id: ExecutionId
    status: ExecutionStatus
    version: int
    claimed_by: str
    document: Any = field(repr=False)
    queued_at: int = 0


@dataclass(frozen=True, slots=True)
class Topics:
    """The MQTT topics of one thing."""

    thing_name: str

    @property
    def root(self) -> str:
        """The prefix of every Jobs topic of this thing."""
        return f"$aws/things/{self.thing_name}/jobs"

    @property
    def get(self) -> str:
        """The topic of GetPendingJobExecutions for the default namespace."""
        return f"{self.root}/get"

    def describe(self, namespace: str, job_id: str) -> str:
        """Return the topic of DescribeJobExecution; `job_id` may be `$next`."""
        return f"{self.root}/{job_id}/{_infix(namespace)}get"

    def update(self, namespace: str, job_id: str) -> str:
        """Return the topic of UpdateJobExecution."""
        return f"{self.root}/{job_id}/{_infix(namespace)}update"

    def answers(self, namespaces: tuple[str, ...]) -> list[str]:
        """Return the topic filters for answers: one per kind of request, covering all jobs."""
        plain = [f"{self.root}/{request}/+" for request in ("get", "+/get", "+/update")]
        named = [f"{self.root}/+/+/{request}/+" for request in ("get", "update")]
        return [*(plain if "" in namespaces else []), *(named if any(namespaces) else [])]

    def notifications(self, namespaces: tuple[str, ...], *, with_api_text_form: bool) -> list[str]:
        """Return the topic filters for notifications."""
        filters = []
        for namespace in namespaces:
            suffix = f"-namespace-{namespace}" if namespace else ""
            filters += [f"{self.root}/notify{suffix}", f"{self.root}/notify-next{suffix}"]
            if namespace and with_api_text_form:
                filters.append(f"{self.root}/+/notify-namespace-{namespace}/")
        return filters

    def namespace_of(self, topic: str) -> tuple[str, bool]:
        """Return the namespace of a notification, and whether it has the whole pending list (notify, not notify-next).

        Raises:
            MalformedMessageError: the topic is not a notification of this thing.
        """
        if topic.startswith(f"{self.root}/"):
            name = topic.removeprefix(f"{self.root}/").rstrip("/").split("/")[-1]
            for prefix, is_complete in (("notify-next", False), ("notify", True)):
                if name == prefix:
                    return "", is_complete
                if name.startswith(f"{prefix}-namespace-"):
                    return name.removeprefix(f"{prefix}-namespace-"), is_complete
        raise MalformedMessageError(f"no notification topic of {self.thing_name}: {topic[:256]!r}")


def is_answer(topic: str) -> bool:
    """Return whether a message on `topic` is the answer to a request; otherwise it is a notification."""
    return topic.endswith(("/accepted", "/rejected"))


def parse_object(payload: bytes) -> Json:
    """Parse `payload` as a JSON object; an empty one is `{}`.

    Raises:
        MalformedMessageError: it is not UTF-8, not JSON, not an object, contains NaN, is nested too deeply, or larger
            than any message of AWS IoT.
    """
    if len(payload) > LARGEST_BYTES:
        raise MalformedMessageError(f"larger than {LARGEST_BYTES // 1024} KiB, which is more than AWS IoT sends")
    try:
        value = json.loads(payload or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise MalformedMessageError(f"a JSON {type(value).__name__}, not an object")
    return value


def parse_notification(payload: bytes, namespace: str, *, is_complete: bool) -> tuple[ExecutionId, ...]:
    """Return the executions that a notify (`is_complete`) or a notify-next names, IN_PROGRESS first.

    Raises:
        MalformedMessageError: the payload is not such a notification.
    """
    message = parse_object(payload)
    if not is_complete:
        execution = message.get("execution")
        return (_id(execution, namespace),) if execution else ()
    jobs = message.get("jobs") or {}
    if not isinstance(jobs, dict):
        raise MalformedMessageError("member jobs is not an object")
    return _ids([*_array(jobs, "IN_PROGRESS"), *_array(jobs, "QUEUED")], namespace)


def parse_pending(message: Json, namespace: str) -> tuple[ExecutionId, ...]:
    """Return the executions in an answer to GetPendingJobExecutions (MQTT or HTTPS), IN_PROGRESS first.

    Raises:
        MalformedMessageError: the message is not such an answer.
    """
    return _ids([*_array(message, "inProgressJobs"), *_array(message, "queuedJobs")], namespace)


def parse_execution(message: Json, namespace: str, execution_number: int = 1) -> ServiceExecution | None:
    """Return the execution in an answer to DescribeJobExecution; None if it says that nothing is pending.

    `execution_number` is the one that was asked for, in case the answer leaves it out.

    Raises:
        MalformedMessageError: the message is not such an answer.
    """
    execution = message.get("execution")
    if not execution:
        return None
    if not isinstance(execution, dict):
        raise MalformedMessageError("member execution is not an object")
    try:
        status = ExecutionStatus(execution.get("status", ""))
    except ValueError:
        raise MalformedMessageError("member status is none of a job execution") from None
    details = execution.get("statusDetails")
    claimed_by = details.get("agent", "") if isinstance(details, dict) else ""
    return ServiceExecution(
        id=_id(execution, namespace, execution_number),
        status=status,
        version=_integer(execution, "versionNumber", 0),
        claimed_by=claimed_by if isinstance(claimed_by, str) else "",
        queued_at=_epoch_s(execution.get("queuedAt")),
        document=execution.get("jobDocument"),
    )


def refusal(message: Json) -> RequestRefused:
    """Return the error for a message on /rejected (AWS IoT developer guide, page jobs-api, "ErrorResponse")."""
    state = message.get("executionState")
    return RequestRefused(
        str(message.get("code") or "InternalError"),
        str(message.get("message") or "no message"),
        state if isinstance(state, dict) else None,
    )


def current_status(refused: RequestRefused) -> ExecutionStatus | None:
    """Return the status of the execution according to the refusal, or None if it does not say."""
    try:
        return ExecutionStatus(str((refused.execution_state or {}).get("status", "")))
    except ValueError:
        return None


def describe_request(execution_number: int, *, with_document: bool = True) -> dict[str, Any]:
    """Return the body of a DescribeJobExecution request; `execution_number` 0 means the latest."""
    body: dict[str, Any] = {"includeJobDocument": with_document}
    return {**body, "executionNumber": execution_number} if execution_number else body


def update_request(update: Update) -> dict[str, Any]:
    """Return the body of an UpdateJobExecution request.

    It always has `executionNumber`, so that a newer execution of the job cannot get the outcome of an older one.
    """
    body: dict[str, Any] = {
        "status": update.status.value,
        "executionNumber": update.execution.execution_number,
        "includeJobExecutionState": False,
    }
    if update.details is not None:
        body["statusDetails"] = dict(update.details)
    if update.expected_version:
        body["expectedVersion"] = update.expected_version
    if update.step_timeout_minutes:
        body["stepTimeoutInMinutes"] = update.step_timeout_minutes
    return body


def _infix(namespace: str) -> str:
    return f"namespace-{namespace}/" if namespace else ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _array(message: Json, key: str) -> list[Any]:
    value = message.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedMessageError(f"member {key} is not an array")
    return value


def _ids(entries: list[Any], namespace: str) -> tuple[ExecutionId, ...]:
    return tuple(dict.fromkeys(_id(entry, namespace) for entry in entries))


def _id(entry: Any, namespace: str, execution_number: int = 1) -> ExecutionId:
    if not isinstance(entry, dict):
        raise MalformedMessageError("an execution is not an object")
    job_id = entry.get("jobId")
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise MalformedMessageError("member jobId is none")
    return ExecutionId(namespace, job_id, _integer(entry, "executionNumber", execution_number, least=1))


def _epoch_s(value: Any) -> int:
    """Return a time of the service in whole seconds: it has no fractions over MQTT, and may have some over HTTPS."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _LARGEST else 0


def _integer(entry: Json, key: str, default: int, *, least: int = 0) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise MalformedMessageError(f"member {key} is not an integer from {least} to {_LARGEST}")
    return value
