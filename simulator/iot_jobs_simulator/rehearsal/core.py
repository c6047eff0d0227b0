"""The first engine: one seed through the service's own rules, in virtual time. What it says is what the simulator does.

The service acts first where it and a device would act at the same time, as in the running simulator.
"""

from typing import Final

from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.jobs import abort, device, rollout
from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.rehearsal.devices import Act, Devices
from iot_jobs_simulator.rehearsal.fates import Fates
from iot_jobs_simulator.rehearsal.outcome import ExecutionRow, RehearsedJob
from iot_jobs_simulator.rehearsal.plan import Plan, fill_store, new_store

_NOTIFY_NEXT: Final = "notify-next"


def rehearse(plan: Plan, fates: Fates, api: ServiceApi) -> RehearsedJob:
    """Run the job on the fleet until nothing happens any more, or until the plan ends."""
    numbers = numbers_by_name(plan)
    store, devices = new_store(), Devices(fates, numbers, plan.created_at)
    fill_store(store, plan)
    ControlPlane(store, api, {}).answer("CreateJob", plan.members, plan.created_at)
    while True:
        service_at, device_at = rollout.next_due(store), devices.next_at
        now = device_at if service_at is None else min(service_at, device_at)
        if now > plan.ends_at:
            break
        if now == service_at:
            rollout.advance(store, now)
        else:
            _perform(store, plan, *devices.take())
        for publication in store.take_publications():
            _pass_on(devices, publication, now)
    return recorded(store, plan, numbers)


def numbers_by_name(plan: Plan) -> dict[str, int]:
    """The numbers of the fleet's devices by the names of their things."""
    places = plan.fleet.places
    return {
        name: number
        for group, place in places.items()
        for name, number in zip(plan.fleet.thing_names(group), place, strict=True)
    }


def recorded(store: JobStore, plan: Plan, numbers: dict[str, int]) -> RehearsedJob:
    """What the service has on record of the job."""
    job = store.jobs[plan.request.job_id]
    rows = sorted(_row(each, numbers[each.thing_name]) for each in store.executions_of_job(job.job_id))
    return RehearsedJob(tuple(rows), _aborted_at(job))


def _perform(store: JobStore, plan: Plan, at: float, act: Act) -> None:
    namespace = plan.request.namespace
    if act.status is ExecutionStatus.IN_PROGRESS:
        device.start_next(store, act.thing_name, namespace, at)
    else:
        change = device.Update(status=act.status)
        device.update(store, act.thing_name, plan.request.job_id, change, at, namespace=namespace)


def _pass_on(devices: Devices, publication: Publication, now: float) -> None:
    _, _, thing_name, _, kind = publication.topic.split("/")
    if kind.startswith(_NOTIFY_NEXT):
        following = publication.payload.get("execution")
        devices.hear(thing_name, following["executionNumber"] if following else None, now)


def _row(execution: JobExecution, thing: int) -> ExecutionRow:
    ended_at = None if execution.status.is_pending else execution.last_updated_at
    return ExecutionRow(thing, execution.number, execution.status, execution.queued_at, execution.started_at, ended_at)


def _aborted_at(job: Job) -> float | None:
    return job.last_updated_at if job.reason_code == abort.REASON_CODE else None
