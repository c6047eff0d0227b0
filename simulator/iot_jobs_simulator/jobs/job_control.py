"""What an operator may do with jobs: the rules of the control plane (API reference, AWS IoT; page manage-job-cli).

Arguments have the right types and shapes already. Single executions are in `execution_control`, lists in `listing`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from iot_jobs_simulator.jobs import abort, batches, lifecycle, membership, packages, rates, retries, schedule
from iot_jobs_simulator.jobs.agenda import Admit, Deed, EndJob, Start
from iot_jobs_simulator.jobs.execution import TIMEOUT_MINUTES
from iot_jobs_simulator.jobs.job import ACTIVE, MAX_TARGETS, Job, JobRequest, JobStatus
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.names import arn, resource_of
from iot_jobs_simulator.payloads import json_value
from iot_jobs_simulator.refusals import Code, Refused, invalid

MAX_DELETIONS: Final = 10
_FINISHED: Final = frozenset({JobStatus.COMPLETED, JobStatus.CANCELED})


def create(store: JobStore, request: JobRequest, now: float) -> Job:
    """CreateJob. Executions come with the rollout; a job id in use is refused whatever the other job's status."""
    check_request(store, request, now)
    if request.job_id in store.jobs:
        raise Refused(
            Code.RESOURCE_ALREADY_EXISTS,
            f"Job {request.job_id} already exists",
            {"resourceId": request.job_id, "resourceArn": store.jobs[request.job_id].arn},
        )
    things, groups = membership.resolve(store, request.targets)
    starts_at = schedule.start_time(request.scheduling_config)
    _check_room(store, is_scheduled=starts_at is not None)
    job = Job(
        request=request,
        arn=arn(f"job/{request.job_id}"),
        created_at=now,
        last_updated_at=now,
        waiting_things=things,
        status=JobStatus.IN_PROGRESS if starts_at is None else JobStatus.SCHEDULED,
        group_ids=tuple(group.group_id for group in groups),
    )
    store.tags.begin(job.arn, request.tags)
    store.add_job(job)
    if starts_at is None:
        starts_at = now + store.rollout_delay_s(store.settings.rollout_delay_s)
    store.agenda.add(starts_at, Start(job))
    if (ends_at := schedule.end_time(request.scheduling_config)) is not None:
        store.agenda.add(ends_at, EndJob(job))
    return job


def update(store: JobStore, job_id: str, changes: Mapping[str, Any], now: float, *, namespace: str | None) -> None:
    """UpdateJob: `changes` are fields of JobRequest. A timeout counts for executions that have not started yet.

    The API reference says that the timeout cannot be changed, the developer guide until when it can; the latter holds.
    """
    job = store.find_job(job_id, namespace=namespace)
    if not job.is_active:
        raise invalid(f"Job {job_id} is {job.status} and cannot be updated")
    if not changes:
        raise invalid(f"UpdateJob of {job_id} names nothing to change")
    rates.check(changes.get("rollout_config", {}))
    abort.check(changes.get("abort_config", {}))
    check_timeout(changes.get("timeout_config"))
    if "retry_config" in changes:
        retries.check_change(changes["retry_config"])
    job.request = dataclasses.replace(job.request, **changes)
    job.last_updated_at = now


def associate(
    store: JobStore, job_id: str, targets: Sequence[str], now: float, *, comment: str | None, namespace: str | None
) -> Job:
    """AssociateTargetsWithJob: more thing groups for a CONTINUOUS job; those it has already change nothing."""
    job = store.find_job(job_id, namespace=namespace)
    if not job.is_continuous or job.status is not JobStatus.IN_PROGRESS or job.has_ended:
        raise invalid(
            f"Job {job_id} is {job.request.target_selection} and {job.status}, not CONTINUOUS and IN_PROGRESS"
        )
    groups = [store.registry.groups.find_by_arn(target) for target in _only_groups(targets)]
    together = tuple(dict.fromkeys((*job.request.targets, *targets)))
    if len(together) > MAX_TARGETS:
        raise Refused(
            Code.LIMIT_EXCEEDED, f"Job {job_id} would have {len(together)} targets, at most {MAX_TARGETS} are allowed"
        )
    batches.serve_departures(store, job)
    named = {name: None for group in groups for name in membership.members(group)}
    new = {name: None for name in named if not store.is_target(job, name)}
    with store.reindexing(job):
        job.group_ids = tuple(dict.fromkeys((*job.group_ids, *(group.group_id for group in groups))))
    job.request = dataclasses.replace(job.request, targets=together)
    job.comment = comment if comment is not None else job.comment
    job.last_updated_at = now
    if new:
        job.joined_things |= new
        store.agenda.add(now + store.settings.rollout_delay_s, Admit(job))
    return job


def cancel(
    store: JobStore, job_id: str, now: float, *, force: bool, reason_code: str | None, comment: str | None
) -> Job:
    """CancelJob: QUEUED executions are canceled, IN_PROGRESS ones by force only, terminal ones stay."""
    job = store.find_job(job_id)
    is_second_by_force = (
        force and job.status is JobStatus.CANCELED and bool(lifecycle.things_in_reach(store, job, by_force=force))
    )
    if not job.is_active and not is_second_by_force:
        raise invalid(f"Job {job_id} is {job.status} and cannot be canceled")
    job.reason_code = reason_code if reason_code is not None else job.reason_code
    job.comment = comment if comment is not None else job.comment
    lifecycle.call_off(store, job, now, by_force=force)
    return job


def delete(store: JobStore, job_id: str, now: float, *, force: bool, namespace: str | None) -> None:
    """DeleteJob: its executions vanish first, the job after a while in DELETION_IN_PROGRESS."""
    job = store.find_job(job_id, namespace=namespace)
    if job.status not in (_FINISHED | ACTIVE if force else _FINISHED):
        raise Refused(Code.INVALID_STATE_TRANSITION, f"Job {job_id} is {job.status} and cannot be deleted")
    if len(store.deletions) >= MAX_DELETIONS:
        raise Refused(
            Code.LIMIT_EXCEEDED, f"{len(store.deletions)} jobs are being deleted, at most {MAX_DELETIONS} may be"
        )
    store.set_status(job, JobStatus.DELETION_IN_PROGRESS, now)
    job.call_off()
    store.publish_event(job, "deletion_in_progress", now)
    store.deletions.add(job_id)
    store.start_batch(job, Deed.DELETE, [each.thing_name for each in store.executions_of_job(job_id)], now)


def _check_room(store: JobStore, *, is_scheduled: bool) -> None:
    """Refuse a job beyond the quotas (page job-limits). One that waits for its start is active, but not concurrent."""
    settings = store.settings
    if store.index.active >= settings.active_jobs:
        raise Refused(Code.LIMIT_EXCEEDED, f"{settings.active_jobs} jobs are active, no more may be")
    if not is_scheduled and not store.has_room_for_concurrent():
        raise Refused(Code.LIMIT_EXCEEDED, f"{settings.concurrent_jobs} jobs are concurrent, no more may be")


def check_request(store: JobStore, request: JobRequest, now: float) -> None:
    """Refuse what the API's shapes allow but no job may have."""
    if len(request.targets) > MAX_TARGETS:
        raise invalid(f"The job has {len(request.targets)} targets, at most {MAX_TARGETS} are allowed")
    try:
        json_value(request.document)
    except ValueError as error:
        raise invalid(f"The job document is not valid JSON: {error}") from None
    packages.check_package_versions(request.destination_package_versions)
    retries.check(request.retry_config, request.timeout_config)
    rates.check(request.rollout_config)
    abort.check(request.abort_config)
    schedule.check(
        request.scheduling_config, now, is_continuous=request.is_continuous, lead_s=store.settings.schedule_lead_s
    )


def check_timeout(config: Mapping[str, Any] | None) -> None:
    """Refuse a timeoutConfig that is given without a number of minutes that can be (docs/decisions.md, captures)."""
    if config is None:
        return
    minutes = config.get("inProgressTimeoutInMinutes")
    if minutes not in TIMEOUT_MINUTES:
        shown = "null" if minutes is None else minutes
        raise invalid(f"Provide valid timeout value, inProgressTimeoutInMinutes cannot be {shown}.")


def _only_groups(targets: Sequence[str]) -> Sequence[str]:
    for target in targets:
        found = resource_of(target)
        if found is None or found.kind != "thinggroup":
            raise invalid(f"Only thing groups can be associated with a job: {target}")
    return targets
