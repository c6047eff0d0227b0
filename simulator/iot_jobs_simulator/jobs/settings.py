"""Switches: where AWS leaves a choice or contradicts itself, or a test wants to wait less or more."""

from dataclasses import dataclass, field
from typing import Any


def _switch(default: Any, what: str) -> Any:
    """Make a field whose meaning `--help` can show."""
    return field(default=default, metadata={"help": what})


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Each default is what AWS most probably does. What each field means is its `help`; durations are in seconds."""

    rollout_delay_s: float = _switch(0.0, "seconds between CreateJob and the job's executions")
    deletion_delay_s: float = _switch(0.5, "seconds for which a deleted job is DELETION_IN_PROGRESS")
    retry_delay_s: float = _switch(0.0, "seconds between a failure and its retry")
    timeout_lag_s: float = _switch(0.0, "seconds between a deadline and TIMED_OUT (AWS: up to 60)")
    namespace_topic_of_api_text: bool = _switch(
        default=True, what="for namespaced jobs, send notifications on the topics of the API reference too"
    )
    next_is_judged_over_namespaces: bool = _switch(
        default=False,
        what="let a pending job of any namespace keep those of others from being announced as next, as one field"
        " report has it",
    )
    terminal_update_is_terminal_state_reached: bool = _switch(
        default=False,
        what="refuse an update of an execution that is over with TerminalStateReached, not InvalidStateTransition",
    )
    queued_may_end: bool = _switch(
        default=True, what="let a device report SUCCEEDED or FAILED of what it never reported IN_PROGRESS"
    )
    empty_snapshot_completes: bool = _switch(default=True, what="make a snapshot job for no thing at all COMPLETED")
    invalid_documents_have_their_own_exception: bool = _switch(
        default=False,
        what="refuse a malformed placeholder in a job document with InvalidJobDocumentException, which the developer"
        " guide names and the service model does not have, not InvalidRequestException",
    )
    parameters_not_given_are_dropped: bool = _switch(
        default=False,
        what="drop an optional parameter of a managed template that is not given, instead of leaving it empty",
    )
    list_cap: int = _switch(
        10, "how many executions of jobs without maintenance windows notify and GetPendingJobExecutions show"
    )
    window_list_cap: int = _switch(5, "how many of jobs with maintenance windows they show besides")
    rollout_per_minute: int = _switch(1000, "things notified a minute of a job that does not say how many")
    rollout_is_spread: bool = _switch(
        default=False, what="spread the executions of a minute over it, and do not queue them all at its beginning"
    )
    abort_counts_retried: bool = _switch(
        default=True, what="count a failure that is retried for abortConfig too, and not only the last one of a thing"
    )
    schedule_lead_s: float = _switch(
        1800.0, "seconds by which a startTime lies ahead at least, and an endTime behind it"
    )
    active_jobs: int = _switch(100_000, "how many jobs may be IN_PROGRESS or SCHEDULED at a time")
    concurrent_jobs: int = _switch(500, "how many jobs may be concurrent at a time: being rolled out or canceled")
