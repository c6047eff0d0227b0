"""A random life of jobs, groups and devices, and what must hold after every step of it."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cloud

THINGS = ("fan", "lamp")
GROUPS = ("child", "parent")
JOBS = ("J0", "J1", "J2")
NAMESPACES = ("", "team")

thing = st.sampled_from(THINGS)
group = st.sampled_from(GROUPS)
job = st.sampled_from(JOBS)
one = {"thingName": thing, "jobId": job}
membership = {"thingName": thing, "thingGroupName": group}


def request(name: str, **members: Any) -> Any:
    return st.tuples(st.just(name), st.fixed_dictionaries(members))


STEPS = st.one_of(
    request(
        "CreateJob",
        jobId=job,
        targets=st.lists(
            st.sampled_from(
                [f"arn:aws:iot:us-east-1:123456789012:{kind}" for kind in ("thing/fan", "thing/lamp")]
                + [f"arn:aws:iot:us-east-1:123456789012:thinggroup/{name}" for name in GROUPS]
            ),
            min_size=1,
            max_size=2,
        ),
        document=st.just("{}"),
        targetSelection=st.sampled_from(["SNAPSHOT", "CONTINUOUS"]),
        timeoutConfig=st.just({"inProgressTimeoutInMinutes": 2}),
        jobExecutionsRetryConfig=st.sampled_from(
            [{}, {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]}]
        ),
        namespaceId=st.sampled_from([None, "team"]),
    ),
    request("CancelJob", jobId=job, force=st.booleans()),
    request("DeleteJob", jobId=job, force=st.booleans()),
    request("CancelJobExecution", **one, force=st.booleans()),
    request("DeleteJobExecution", **one, executionNumber=st.integers(1, 3), force=st.booleans()),
    request(
        "AssociateTargetsWithJob",
        jobId=job,
        targets=group.map(lambda name: [f"arn:aws:iot:us-east-1:123456789012:thinggroup/{name}"]),
    ),
    request("AddThingToThingGroup", **membership),
    request("RemoveThingFromThingGroup", **membership),
    request("DeleteThing", thingName=thing),
    request("CreateThing", thingName=thing),
    request("pass", seconds=st.sampled_from([0, 1, 30, 150])),
    request("start-next", thing=thing),
    request("update", thing=thing, jobId=job, status=st.sampled_from(list(ExecutionStatus))),
)


@settings(max_examples=150)
@given(
    steps=st.lists(STEPS, max_size=30),
    switches=st.sampled_from(
        [ServiceSettings(), ServiceSettings(rollout_delay_s=1, retry_delay_s=30, deletion_delay_s=1, timeout_lag_s=1)]
    ),
)
def test_whatever_happens_the_rules_hold(
    new_cloud: Callable[[ServiceSettings], Cloud], steps: list[tuple[str, dict[str, Any]]], switches: ServiceSettings
) -> None:
    cloud = new_cloud(switches)
    for name in THINGS:
        cloud.create_thing(name)
    cloud.create_group("parent")
    cloud.create_group("child", parent="parent")
    for step in steps:
        before = lists_of(cloud)
        live(cloud, *step)
        check_notifications(cloud, before, step)
        check_executions(cloud)
        check_jobs(cloud)


def live(cloud: Cloud, name: str, members: dict[str, Any]) -> None:
    """One step of the life; refusals are part of it."""
    match name:
        case "pass":
            cloud.pass_time(**members)
        case "start-next":
            cloud.ask("start-next", members["thing"])
        case "update":
            cloud.ask(f"{members['jobId']}/update", members["thing"], status=members["status"])
        case _:
            try:
                cloud.operate(name, **members)
            except Refused:
                return


def lists_of(cloud: Cloud) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """The pending list of every thing in every namespace."""
    return {
        place: [execution.identity for execution in cloud.store.pending(*place)]
        for place in itertools.product(THINGS, NAMESPACES)
    }


def check_notifications(cloud: Cloud, before: Any, step: tuple[str, dict[str, Any]]) -> None:
    """notify if the set changed, notify-next if the first one did; the last of each tells the truth."""
    after = lists_of(cloud)
    sent = {publication.topic: publication.payload for publication in cloud.store.take_publications()}
    is_silent = step[0] == "DeleteThing"
    may_pass_through = step[0] == "pass"  # several things may happen in one leap, and cancel each other out
    for place, new in after.items():
        suffix = f"-namespace-{place[1]}" if place[1] else ""
        prefix = f"$aws/things/{place[0]}/jobs/"
        notify, notify_next = sent.get(f"{prefix}notify{suffix}"), sent.get(f"{prefix}notify-next{suffix}")
        if is_silent:
            assert (notify, notify_next) == (None, None)
            continue
        has_changed, has_next = set(new) != set(before[place]), new[:1] != before[place][:1]
        assert (notify is not None) == has_changed or (may_pass_through and not has_changed)
        assert (notify_next is not None) == has_next or (may_pass_through and not has_next)
        if notify is not None:
            listed = [entry["jobId"] for entries in notify["jobs"].values() for entry in entries]
            assert listed == [job_id for job_id, _ in new]
        if notify_next is not None:
            assert notify_next.get("execution", {}).get("jobId") == next((job_id for job_id, _ in new), None)


def check_executions(cloud: Cloud) -> None:
    """Only the latest execution of a job on a thing can be pending; numbers rise; nothing outlives its deadline."""
    for thing_name, job_id in itertools.product(THINGS, JOBS):
        executions = list(cloud.store.executions.latest_first(thing_name, job_id))[::-1]
        assert all(not execution.status.is_pending for execution in executions[:-1])
        assert [execution.number for execution in executions] == sorted({execution.number for execution in executions})
    for thing_name in THINGS:
        for execution in cloud.store.executions_of_thing(thing_name):
            assert execution.deadline is None or execution.status is ExecutionStatus.IN_PROGRESS
            assert execution.deadline is None or execution.deadline + cloud.store.settings.timeout_lag_s > cloud.now
            queue = cloud.store.pending(thing_name, execution.namespace)
            assert (execution in queue) == execution.is_listed


def check_jobs(cloud: Cloud) -> None:
    """Counters add up; a snapshot job is COMPLETED exactly when nothing of it is open; every job is listed once."""
    for found in cloud.store.jobs.values():
        executions = list(cloud.store.executions_of_job(found.job_id))
        assert +found.executions == Counter(execution.status for execution in executions)
        is_open = bool(found.waiting_things or found.joined_things or found.retrying_things) or any(
            execution.status.is_pending for execution in executions
        )
        if found.status == "IN_PROGRESS" and not found.is_continuous:
            assert is_open or not executions
        if found.status in ("COMPLETED", "DELETION_IN_PROGRESS"):
            assert not is_open
    for namespace in NAMESPACES:
        members = {"namespaceId": namespace} if namespace else {}
        listed = [summary["jobId"] for summary in cloud.operate("ListJobs", **members)["jobs"]]
        assert sorted(listed) == sorted(
            found.job_id for found in cloud.store.jobs.values() if found.request.namespace == namespace
        )
