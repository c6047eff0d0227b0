"""How a job starts, opens, closes and ends, by itself or by its schedule (page jobs-configurations-details).

Outside its maintenance windows a job is SCHEDULED: what is QUEUED of it is in no list, and what would be queued waits.
"""

from iot_jobs_simulator.jobs import lifecycle, rates, schedule
from iot_jobs_simulator.jobs.agenda import CloseWindow, Deed, OpenWindow, Rollout
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.store import JobStore

_MINUTE_S = 60


def start(store: JobStore, job: Job, now: float) -> None:
    """Begin to give executions out, or wait for the first maintenance window."""
    if not job.is_active:
        return
    if job.request.scheduling_config.get("maintenanceWindows"):
        _await_window(store, job, now)
    else:
        _open(store, job, now)


def open_window(store: JobStore, job: Job, now: float) -> None:
    """Begin a maintenance window."""
    if job.status is JobStatus.SCHEDULED:
        _open(store, job, now)
        store.agenda.add(schedule.open_until(job.request.scheduling_config, now), CloseWindow(job))


def close_window(store: JobStore, job: Job, now: float) -> None:
    """End a maintenance window, unless another one goes on."""
    if job.status is not JobStatus.IN_PROGRESS or job.has_ended:
        return
    until = schedule.open_until(job.request.scheduling_config, now)
    if until > now:
        store.agenda.add(until, CloseWindow(job))
        return
    job.close()
    store.set_status(job, JobStatus.SCHEDULED, now)
    queued = [each for each in store.executions_of_job(job.job_id) if each.status is ExecutionStatus.QUEUED]
    store.start_batch(job, Deed.HIDE, [execution.thing_name for execution in queued], now)
    _await_window(store, job, now)


def end_job(store: JobStore, job: Job, now: float) -> None:
    """Do what the endBehavior says. Executions that it leaves alone run on, outside of windows too."""
    if not job.is_active:
        return
    job.has_ended = True
    job.call_off()
    if job.status is JobStatus.SCHEDULED:
        store.set_status(job, JobStatus.IN_PROGRESS, now)
    hidden = [each.thing_name for each in store.executions_of_job(job.job_id) if each.is_hidden]
    behavior = job.request.scheduling_config.get("endBehavior", "STOP_ROLLOUT")
    if behavior == "STOP_ROLLOUT":
        store.start_batch(job, Deed.RESUME, hidden, now)
    else:
        lifecycle.cancel_executions(store, job, now, by_force=behavior == "FORCE_CANCEL")


def roll_out(store: JobStore, job: Job, now: float) -> None:
    """Give the next waiting things their executions: those of a minute, or one if a minute's are spread over it."""
    if job.next_rollout_at != now:
        return  # it was closed meanwhile, and perhaps opened again
    succeeded = job.executions[ExecutionStatus.SUCCEEDED]
    usual = store.settings.rollout_per_minute
    rate = rates.per_minute(job.request.rollout_config, usual, notified=job.notified, succeeded=succeeded)
    is_spread = store.settings.rollout_is_spread
    things = _take_waiting(store, job, 1 if is_spread else rate)
    job.notified += len(things)
    job.next_rollout_at = None
    if job.waiting_things:
        job.next_rollout_at = now + (_MINUTE_S / rate if is_spread else _MINUTE_S)
        store.agenda.add(job.next_rollout_at, Rollout(job))
    store.start_batch(job, Deed.QUEUE, things, now)


def admit(store: JobStore, job: Job, now: float) -> None:
    """Give what has waited for the job to open what it waited for; at no rate, which is for the first targets only."""
    if job.is_open:
        hidden = (each.thing_name for each in store.executions_of_job(job.job_id) if each.is_hidden)
        store.start_batch(job, Deed.RESUME, [*hidden, *job.retrying_things, *job.joined_things], now)


def _take_waiting(store: JobStore, job: Job, count: int) -> list[str]:
    """The next things that wait, without those that a group took with it when it was deleted."""
    things: list[str] = []
    lost: list[str] = []
    for thing_name in job.waiting_things:
        if len(things) == count:
            break
        (things if store.is_kept(job, thing_name) else lost).append(thing_name)
    for thing_name in (*things, *lost):
        del job.waiting_things[thing_name]
    return things


def _open(store: JobStore, job: Job, now: float) -> None:
    if job.status is JobStatus.SCHEDULED:
        if not job.has_opened and not store.has_room_for_concurrent():  # page job-limits
            lifecycle.call_off(store, job, now, by_force=False)
            return
        store.set_status(job, JobStatus.IN_PROGRESS, now)
    is_first, job.has_opened = not job.has_opened, True
    job.is_open = True
    if job.joined_things or not is_first:
        admit(store, job, now)
    if is_first or job.waiting_things:
        job.next_rollout_at = now
        store.agenda.add(now, Rollout(job))


def _await_window(store: JobStore, job: Job, now: float) -> None:
    at = schedule.next_opening(job.request.scheduling_config, now)
    if at is not None:
        store.agenda.add(at, OpenWindow(job))
