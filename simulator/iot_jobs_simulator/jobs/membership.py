"""Which things a job is for, and what happens when things join groups, leave them, or are deleted.

A SNAPSHOT job takes the members of its groups once, at its creation; a CONTINUOUS one follows them (developer guide,
page jobs-configurations-details). Members of child groups count as members of the group (page thing-groups).
"""

from collections.abc import Iterable

from iot_jobs_simulator.jobs import batches, lifecycle
from iot_jobs_simulator.jobs.agenda import Deed
from iot_jobs_simulator.jobs.execution import PENDING
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.names import name_of
from iot_jobs_simulator.registry.groups import ThingGroup


def resolve(store: JobStore, targets: Iterable[str]) -> tuple[dict[str, None], tuple[ThingGroup, ...]]:
    """The things that targets stand for now, each once, and the groups among the targets; ResourceNotFound."""
    things: dict[str, None] = {}
    groups: dict[str, ThingGroup] = {}
    for target in targets:
        if name_of(target, "thinggroup") is not None:
            group = store.registry.groups.find_by_arn(target)
            groups[group.group_id] = group
            things |= dict.fromkeys(members(group))
        else:
            things[store.registry.find_by_arn(target).name] = None
    return things, tuple(groups.values())


def members(group: ThingGroup) -> list[str]:
    """The things in a group and in all groups below it, by name."""
    return sorted({thing_name for each in group.family() for thing_name in each.things})


def join(store: JobStore, thing_name: str, group: ThingGroup, now: float) -> None:
    """AddThingToThingGroup: CONTINUOUS jobs for the group, or one above it, are queued for the thing.

    Again, too, under the next number, where its newest execution is terminal; never beside one that is pending, nor
    later, when that one ends (docs/decisions.md, captures of 2026).
    """
    store.registry.find(thing_name)
    batches.serve(store, thing_name)
    if not store.registry.groups.add_thing(thing_name, group):
        return
    for job in store.continuous_jobs(each.group_id for each in group.lineage()):
        if not _has_pending(store, job, thing_name):
            enrol(store, job, thing_name, now)


def enrol(store: JobStore, job: Job, thing_name: str, now: float) -> None:
    """Queue a CONTINUOUS job for a thing that has become a target of it. Its retries start over.

    At once, even while a slow rollout goes on, whose rate is for the first targets only; or else once the job opens.
    """
    job.retrying_things.pop(thing_name, None)
    if not job.is_open:
        if not job.has_ended:
            job.joined_things[thing_name] = None
        return
    with store.changing(thing_name, job.request.namespace, now):
        store.queue(job, thing_name, now)


def leave(store: JobStore, thing_name: str, group: ThingGroup, now: float, *, is_silent: bool = False) -> None:
    """RemoveThingFromThingGroup: what is QUEUED of CONTINUOUS jobs that the thing is not a target of now is REMOVED.

    What is IN_PROGRESS goes on, and the device may end it (docs/decisions.md, captures of 2026).
    """
    batches.serve(store, thing_name)
    if not store.registry.groups.remove_thing(thing_name, group):
        return
    for job in store.continuous_jobs(each.group_id for each in group.lineage()):
        if not store.is_target(job, thing_name):
            lifecycle.withdraw(store, job, thing_name, now, is_silent=is_silent)


def delete_group(store: JobStore, group: ThingGroup, now: float) -> None:
    """DeleteThingGroup: refused while there are child groups. Its things leave it at once, and lose jobs in batches."""
    things = store.registry.groups.delete(group)
    store.tags.end(group.arn)
    for job in store.continuous_jobs(each.group_id for each in group.lineage()):
        store.start_batch(job, Deed.WITHDRAW, things, now)


def delete_thing(store: JobStore, thing_name: str, now: float) -> None:
    """DeleteThing: what is pending becomes REMOVED, of snapshot jobs too, and the device hears nothing of it."""
    for group in store.registry.groups.of_thing(thing_name):
        leave(store, thing_name, group, now, is_silent=True)
    store.registry.delete(thing_name)
    for job_id in {execution.job_id for execution in store.executions_of_thing(thing_name)}:
        lifecycle.withdraw(store, store.jobs[job_id], thing_name, now, reach=PENDING, is_silent=True)


def _has_pending(store: JobStore, job: Job, thing_name: str) -> bool:
    latest = store.executions.latest(thing_name, job.job_id)
    is_to_come = thing_name in job.waiting_things or thing_name in job.joined_things
    return is_to_come or (latest is not None and latest.status.is_pending)
