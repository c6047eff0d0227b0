"""The service's topics and JSON, as text in and nouns out. Pure; knows nothing of the SDK that carries them.

Sources: developer guide, pages jobs-mqtt-api, jobs-comm-notifications, jobs-api; the namespaced forms are those that
shipped clients use, beside the one that the API reference prints (docs/decisions.md). Unknown members are ignored;
what is missing but not needed is accepted as missing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus
from iot_jobs_agent.errors import AgentError, RequestRefused

Json: TypeAlias = Mapping[str, Any]

_LARGEST = 2**63 - 1  # the service's numbers are of type long, and SQLite's too
_JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # API reference, CreateJob, jobId


class MalformedMessageError(AgentError):
    """The service (or somebody in its name) sent what its documentation does not allow. The message is ignored."""


@dataclass(frozen=True, slots=True)
class ServiceExecution:
    """A job execution as the service describes it. `document` is any JSON value, and secret."""

    id: ExecutionId
    status: ExecutionStatus
    version: int
    agent_id: str
    document: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Topics:
    """The MQTT topics of one thing."""

    thing_name: str

    @property
    def root(self) -> str:
        """Everything of Jobs for this thing is below it."""
        return f"$aws/things/{self.thing_name}/jobs"

    @property
    def get(self) -> str:
        """GetPendingJobExecutions, default namespace."""
        return f"{self.root}/get"

    def describe(self, namespace: str, job_id: str) -> str:
        """DescribeJobExecution; `job_id` may be `$next`."""
        return f"{self.root}/{job_id}/{_infix(namespace)}get"

    def update(self, namespace: str, job_id: str) -> str:
        """UpdateJobExecution."""
        return f"{self.root}/{job_id}/{_infix(namespace)}update"

    def answers(self, namespaces: tuple[str, ...]) -> list[str]:
        """Return the filters on which requests are answered: one for all requests of a kind, whatever the job."""
        plain = [f"{self.root}/{request}/+" for request in ("get", "+/get", "+/update")]
        named = [f"{self.root}/+/+/{request}/+" for request in ("get", "update")]
        return [*(plain if "" in namespaces else []), *(named if any(namespaces) else [])]

    def notifications(self, namespaces: tuple[str, ...], *, with_api_text_form: bool) -> list[str]:
        """Return every filter on which the service announces changes."""
        filters = []
        for namespace in namespaces:
            suffix = f"-namespace-{namespace}" if namespace else ""
            filters += [f"{self.root}/notify{suffix}", f"{self.root}/notify-next{suffix}"]
            if namespace and with_api_text_form:
                filters.append(f"{self.root}/+/notify-namespace-{namespace}/")
        return filters

    def namespace_of(self, topic: str) -> tuple[str, bool]:
        """Return the namespace a notification is about, and whether it lists all that is pending.

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
    """Tell the answer to a request from a notification."""
    return topic.endswith(("/accepted", "/rejected"))


def parse_object(payload: bytes) -> Json:
    """Return the JSON object that `payload` is.

    Raises:
        MalformedMessageError: not UTF-8, not JSON, NaN, nested too deep, or not an object.
    """
    try:
        value = json.loads(payload or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise MalformedMessageError(f"a JSON {type(value).__name__}, not an object")
    return value


def parse_notification(payload: bytes, namespace: str, *, is_complete: bool) -> tuple[ExecutionId, ...]:
    """Return the executions that a notify (`is_complete`) or notify-next names, in its order."""
    message = parse_object(payload)
    if not is_complete:
        execution = message.get("execution")
        return (_id(execution, namespace),) if execution else ()
    jobs = message.get("jobs") or {}
    if not isinstance(jobs, dict):
        raise MalformedMessageError("member jobs is not an object")
    return _ids([*_array(jobs, "IN_PROGRESS"), *_array(jobs, "QUEUED")], namespace)


def parse_pending(message: Json, namespace: str) -> tuple[ExecutionId, ...]:
    """Return what GetPendingJobExecutions answered (MQTT or HTTPS), IN_PROGRESS first."""
    return _ids([*_array(message, "inProgressJobs"), *_array(message, "queuedJobs")], namespace)


def parse_execution(message: Json, namespace: str, execution_number: int = 1) -> ServiceExecution | None:
    """Return what DescribeJobExecution answered; None where it said that nothing is pending.

    `execution_number` is what was asked for, should the answer leave it out.
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
    agent_id = details.get("agent", "") if isinstance(details, dict) else ""
    return ServiceExecution(
        id=_id(execution, namespace, execution_number),
        status=status,
        version=_integer(execution, "versionNumber", 0),
        agent_id=agent_id if isinstance(agent_id, str) else "",
        document=execution.get("jobDocument"),
    )


def refusal(message: Json) -> RequestRefused:
    """Return the refusal that a message on /rejected is (developer guide, page jobs-api, "ErrorResponse")."""
    state = message.get("executionState")
    return RequestRefused(
        str(message.get("code") or "InternalError"),
        str(message.get("message") or "no message"),
        state if isinstance(state, dict) else None,
    )


def current_status(refused: RequestRefused) -> ExecutionStatus | None:
    """Return the status that the service says the execution has, where it says so."""
    try:
        return ExecutionStatus(str((refused.execution_state or {}).get("status", "")))
    except ValueError:
        return None


def describe_request(execution_number: int, *, with_document: bool = True) -> dict[str, Any]:
    """Return the body of DescribeJobExecution; `execution_number` 0 means the latest."""
    body: dict[str, Any] = {"includeJobDocument": with_document}
    return {**body, "executionNumber": execution_number} if execution_number else body


def update_request(update: Update) -> dict[str, Any]:
    """Return the body of UpdateJobExecution. `executionNumber` is always in it: a retry must not get our outcome."""
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


def _integer(entry: Json, key: str, default: int, *, least: int = 0) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise MalformedMessageError(f"member {key} is not an integer from {least} to {_LARGEST}")
    return value
