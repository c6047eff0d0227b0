"""Switches: where AWS leaves a choice or contradicts itself, or a test wants to wait less or more."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Each default is what AWS most probably does.

    `rollout_delay_s` passes between CreateJob and the executions, `deletion_delay_s` while a job is
    DELETION_IN_PROGRESS, `retry_delay_s` between a failure and its retry, `timeout_lag_s` between a deadline and
    TIMED_OUT (AWS: up to 60). `namespace_topic_of_api_text` adds, for namespaced jobs, notifications on the topics
    that the API reference prints. `next_is_judged_over_namespaces`: a pending job of any namespace keeps those of
    others from being announced as next, as one field report has it. `terminal_update_is_terminal_state_reached`
    changes the refusal of an update to a terminal execution. `queued_may_end`: a device may report SUCCEEDED or
    FAILED of what it never reported IN_PROGRESS. `empty_snapshot_completes`: a snapshot job for no thing at all is
    COMPLETED. `list_cap` is how many executions notify and GetPendingJobExecutions show.
    """

    rollout_delay_s: float = 0.0
    deletion_delay_s: float = 0.5
    retry_delay_s: float = 0.0
    timeout_lag_s: float = 0.0
    namespace_topic_of_api_text: bool = True
    next_is_judged_over_namespaces: bool = False
    terminal_update_is_terminal_state_reached: bool = False
    queued_may_end: bool = True
    empty_snapshot_completes: bool = True
    list_cap: int = 15
