"""Jobs under random rates, windows, retries and joins: no execution is lost or doubled, however late things happen."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from iot_jobs_simulator.jobs import retries, rollout
from iot_jobs_simulator.jobs.agenda import Deed
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cloud

    from iot_jobs_simulator.jobs.job import Job

MONDAY = datetime(2026, 11, 30, 12, tzinfo=UTC)
THINGS = ("a", "b", "c", "d")
GROUPS = ("one", "two")
JOBS = ("J0", "J1")
ARN = "arn:aws:iot:us-east-1:123456789012:thinggroup/"


def written(hours: float) -> str:
    return f"{MONDAY + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def request(name: str, **members: Any) -> Any:
    return st.tuples(st.just(name), st.fixed_dictionaries(members))


thing = st.sampled_from(THINGS)
job_id = st.sampled_from(JOBS)
membership = {"thingName": thing, "thingGroupName": st.sampled_from(GROUPS)}
window = st.builds(
    lambda minute, every, duration: {
        "startTime": f"cron({minute} 0/{every} * * ? *)",
        "durationInMinutes": duration,
    },
    st.sampled_from([0, 30]),
    st.sampled_from([1, 2, 6]),
    st.sampled_from([1, 20, 60, 90]),
)
rate = st.sampled_from(
    [
        {},
        {"maximumPerMinute": 1},
        {"maximumPerMinute": 2},
        {
            "exponentialRate": {
                "baseRatePerMinute": 1,
                "incrementFactor": 2,
                "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
            }
        },
    ]
)
schedule = st.one_of(
    st.just({}),
    st.just({"startTime": written(hours=5)}),
    st.builds(
        lambda each, end: {"startTime": written(hours=1), "maintenanceWindows": each} | end,
        st.lists(window, min_size=1, max_size=2),
        st.sampled_from(
            [{}]
            + [
                {"endTime": written(hours=9), "endBehavior": behavior}
                for behavior in ("STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL")
            ]
        ),
    ),
)
CREATE: dict[str, Any] = {
    "targets": st.lists(st.sampled_from([ARN + name for name in GROUPS]), min_size=1, max_size=2),
    "document": st.just("{}"),
    "targetSelection": st.just("CONTINUOUS"),
    "schedulingConfig": schedule,
    "jobExecutionsRolloutConfig": rate,
    "jobExecutionsRetryConfig": st.sampled_from(
        [{}, {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}]
    ),
    "abortConfig": st.sampled_from(
        [
            {},
            {
                "criteriaList": [
                    {
                        "failureType": "ALL",
                        "action": "CANCEL",
                        "thresholdPercentage": 60,
                        "minNumberOfExecutedThings": 3,
                    }
                ]
            },
        ]
    ),
}
STEPS = st.one_of(
    request("CreateJob", jobId=job_id, **CREATE),
    request("UpdateJob", jobId=job_id, jobExecutionsRolloutConfig=rate),
    request("AssociateTargetsWithJob", jobId=job_id, targets=st.sampled_from([[ARN + name] for name in GROUPS])),
    request("pass", minutes=st.sampled_from([20, 60])),
    request("pass in slices", minutes=st.sampled_from([20, 60])),
    request("CancelJob", jobId=job_id, force=st.booleans()),
    request("AddThingToThingGroup", **membership),
    request("RemoveThingFromThingGroup", **membership),
    request("DeleteThingGroup", thingGroupName=membership["thingGroupName"]),
    request("CreateThingGroup", thingGroupName=membership["thingGroupName"]),
    request("pass", minutes=st.sampled_from([1, 20, 60, 180])),
    request("pass in slices", minutes=st.sampled_from([1, 20, 60, 180])),
    request("start-next", thing=thing),
    request("update", thing=thing, jobId=job_id, status=st.sampled_from(["IN_PROGRESS", "SUCCEEDED", "FAILED"])),
)


@settings(max_examples=100)
@given(
    members=st.lists(st.tuples(thing, st.sampled_from(GROUPS)), max_size=6),
    created=st.tuples(*(st.fixed_dictionaries({"jobId": st.just(each), **CREATE}) for each in JOBS)),
    steps=st.lists(STEPS, min_size=10, max_size=40),
    switches=st.sampled_from(
        [
            ServiceSettings(),
            ServiceSettings(rollout_is_spread=True, retry_delay_s=600),
            ServiceSettings(rollout_delay_s=90, abort_counts_retried=False),
        ]
    ),
)
def test_no_execution_is_lost_or_doubled(
    new_cloud: Callable[[ServiceSettings], Cloud],
    members: list[tuple[str, str]],
    created: tuple[dict[str, Any], ...],
    steps: list[tuple[str, dict[str, Any]]],
    switches: ServiceSettings,
) -> None:
    cloud = new_cloud(switches)
    cloud.now = MONDAY.timestamp()
    for name in THINGS:
        cloud.create_thing(name)
    for name in GROUPS:
        cloud.create_group(name)
    for thing_name, group in members:
        cloud.operate("AddThingToThingGroup", thingName=thing_name, thingGroupName=group)
    for step in [*(("CreateJob", each) for each in created), *steps]:
        live(cloud, *step)
        for found, thing_name in itertools.product(cloud.store.jobs.values(), THINGS):
            check_thing(cloud, found, thing_name)
    rollout.advance(cloud.store, cloud.now)
    for found in cloud.store.jobs.values():
        check_settled(cloud, found)


def live(cloud: Cloud, name: str, members: dict[str, Any]) -> None:
    """One step of the life; refusals are part of it. Requests in a life of slices come while batches are under way."""
    match name:
        case "pass":
            cloud.pass_time(**members)
        case "pass in slices":
            cloud.now += 60 * members["minutes"]
            rollout.advance_soon(cloud.store, cloud.now, 1)
        case "start-next":
            cloud.ask("start-next", members["thing"])
        case "update":
            cloud.ask(f"{members['jobId']}/update", members["thing"], status=members["status"])
        case _:
            try:
                cloud.control.answer(name, members, cloud.now)
            except Refused:
                return


def check_thing(cloud: Cloud, job: Job, thing_name: str) -> None:
    """A target of an active job has its execution or waits for it in exactly one place."""
    store = cloud.store
    executions = list(store.executions.latest_first(thing_name, job.job_id))[::-1]
    latest = executions[-1] if executions else None
    is_pending = latest is not None and latest.status.is_pending
    is_retried = thing_name in job.retrying_things
    queueing = [batch for batch in store.batches if batch.job is job and batch.deed is Deed.QUEUE]
    leaving = [batch for batch in store.batches if batch.job is job and batch.deed is Deed.WITHDRAW]
    in_batch = any(thing_name in batch.left for batch in queueing)
    places = [is_pending, is_retried, in_batch, thing_name in job.waiting_things, thing_name in job.joined_things]
    assert sum(places) <= 1
    assert [each.number for each in executions] == list(range(1, len(executions) + 1))
    assert not any(each.status.is_pending or each.is_hidden for each in executions[:-1])
    if not job.is_active or job.has_ended:
        assert not any((is_retried, *places[3:]))  # what is in a batch is passed over
        return
    if store.is_target(job, thing_name):
        assert latest is not None or sum(places) == 1
        has_retry = latest is not None and retries.is_left(job.request.retry_config, latest.retries, latest.status)
        assert is_retried or not has_retry
    elif latest is not None and not any(thing_name in batch.left for batch in leaving):
        assert latest.status is not ExecutionStatus.QUEUED


def check_settled(cloud: Cloud, job: Job) -> None:
    """With no batch under way: hidden is what is QUEUED while its job is SCHEDULED, and everything else is listed."""
    assert job.batches == 0
    for execution in cloud.store.executions_of_job(job.job_id):
        is_queued = execution.status is ExecutionStatus.QUEUED
        assert execution.is_hidden == (is_queued and job.status == "SCHEDULED")
        assert (execution in cloud.store.pending(execution.thing_name, "")) == execution.is_listed
    if job.status in ("CANCELED", "COMPLETED"):
        assert job.executions[ExecutionStatus.QUEUED] == 0
