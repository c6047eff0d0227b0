"""What a device may do, beyond the worked examples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.device_plane import perform_mqtt

from iot_jobs_simulator import topics
from iot_jobs_simulator.jobs.execution import DEVICE_MAY_SET, ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from conftest import Cloud

    from iot_jobs_simulator.model import ServiceApi


@pytest.fixture
def queued(cloud: Cloud) -> Any:
    """J1 queued, its notifications read."""
    cloud.create_job("J1")
    cloud.published()
    return cloud


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_a_queued_execution_may_end_without_having_been_in_progress(queued: Cloud, status: str) -> None:
    queued.accepted("J1/update", status=status)
    execution = queued.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]
    assert (execution["status"], execution["versionNumber"], "startedAt" in execution) == (status, 2, False)


@pytest.mark.parametrize("status", ["QUEUED", "CANCELED", "TIMED_OUT", "REMOVED"])
def test_a_status_that_only_the_service_sets_is_a_transition_that_is_not_allowed(queued: Cloud, status: str) -> None:
    refused = queued.rejected("J1/update", status=status)
    assert refused["code"] == "InvalidStateTransition"
    assert refused["message"] == f"The status of job execution cannot be changed to be {status}"
    assert "executionState" not in refused


@pytest.mark.parametrize("status", ["BOGUS", "SUCCESS", "succeeded", "", 1, ["FAILED"]])
def test_a_status_that_nobody_knows_is_invalid(queued: Cloud, status: str) -> None:
    refused = queued.rejected("J1/update", status=status)
    assert refused["code"] == "InvalidRequest"
    assert "executionState" not in refused


def test_a_missing_status_is_named_as_aws_names_it(queued: Cloud) -> None:
    refused = queued.rejected("J1/update")
    assert refused["message"] == (
        "1 validation error detected: Value null at 'status' failed to satisfy constraint: Member must not be null"
    )
    assert queued.send("$aws/things/lamp/jobs/J1/update", b"")[1]["code"] == "InvalidRequest"
    assert queued.rejected("J1/update", status=None)["code"] == "InvalidRequest"


def test_next_cannot_be_updated(queued: Cloud) -> None:
    assert queued.rejected("$next/update", status="SUCCEEDED")["code"] == "InvalidRequest"
    assert queued.rejected("$next/update")["code"] == "InvalidRequest"


@pytest.mark.parametrize(
    "members",
    [
        {"expectedVersion": "one"},
        {"expectedVersion": "-1"},
        {"expectedVersion": True},
        {"expectedVersion": 1.0},
        {"expectedVersion": 2**63},
        {"expectedVersion": "9" * 5000},
        {"executionNumber": "1"},
        {"stepTimeoutInMinutes": 0},
        {"stepTimeoutInMinutes": -2},
        {"stepTimeoutInMinutes": 10081},
        {"stepTimeoutInMinutes": "5"},
        {"includeJobDocument": "yes"},
        {"includeJobExecutionState": 1},
        {"clientToken": 5},
    ],
)
def test_members_of_the_wrong_type_or_out_of_range_are_invalid(queued: Cloud, members: dict[str, Any]) -> None:
    assert queued.rejected("J1/update", status="IN_PROGRESS", **members)["code"] == "InvalidRequest"
    assert queued.accepted("J1/get")["execution"]["versionNumber"] == 1


def test_what_is_null_or_unknown_counts_as_absent(queued: Cloud) -> None:
    queued.accepted(
        "J1/update",
        status="IN_PROGRESS",
        statusDetails=None,
        expectedVersion=None,
        clientToken=None,
        jobId="other",
        thingName=5,
        extra=[1],
    )
    assert queued.accepted("J1/get")["execution"]["versionNumber"] == 2


def test_flags_may_be_strings_and_add_state_and_document_to_the_reply(queued: Cloud) -> None:
    answer = queued.accepted(
        "J1/update",
        status="IN_PROGRESS",
        statusDetails={"a": "b"},
        includeJobExecutionState="true",
        includeJobDocument=True,
    )
    assert answer["executionState"] == {"status": "IN_PROGRESS", "statusDetails": {"a": "b"}, "versionNumber": 2}
    assert answer["jobDocument"] == {"op": "x"}
    assert "jobDocument" not in queued.accepted("J1/get", includeJobDocument="false")["execution"]
    assert "jobDocument" in queued.accepted("J1/get", includeJobDocument="true")["execution"]


def test_details_are_replaced_as_a_whole_and_stay_when_not_given(queued: Cloud) -> None:
    queued.accepted("J1/update", status="IN_PROGRESS", statusDetails={"a": "1", "b": "2"})
    queued.accepted("J1/update", status="IN_PROGRESS")
    assert queued.accepted("J1/get")["execution"]["statusDetails"] == {"a": "1", "b": "2"}
    queued.accepted("J1/update", status="IN_PROGRESS", statusDetails={"c": "3"})
    assert queued.accepted("J1/get")["execution"]["statusDetails"] == {"c": "3"}
    queued.accepted("J1/update", status="IN_PROGRESS", statusDetails={})
    assert queued.accepted("J1/get")["execution"]["statusDetails"] == {}


def test_start_next_sets_details_of_what_was_queued(queued: Cloud) -> None:
    execution = queued.accepted("start-next", statusDetails={"a": "b"})["execution"]
    assert execution["statusDetails"] == {"a": "b"}


def test_step_timeouts_are_checked_and_kept_until_dropped_or_over(queued: Cloud) -> None:
    execution = queued.store.find_execution("lamp", "J1")
    assert queued.rejected("start-next", stepTimeoutInMinutes=0)["code"] == "InvalidRequest"
    queued.accepted("start-next", stepTimeoutInMinutes=-1)
    assert execution.step_timeout_minutes is None
    queued.accepted("start-next", stepTimeoutInMinutes=10080)
    assert execution.step_timeout_minutes == 10080
    queued.accepted("J1/update", status="IN_PROGRESS")
    assert execution.step_timeout_minutes == 10080
    queued.accepted("J1/update", status="IN_PROGRESS", stepTimeoutInMinutes=-1)
    assert execution.step_timeout_minutes is None
    queued.accepted("J1/update", status="SUCCEEDED", stepTimeoutInMinutes=5)
    assert execution.step_timeout_minutes is None


@pytest.mark.parametrize("request_topic", ["J1/get", "J1/update"])
def test_another_execution_number_is_not_found(queued: Cloud, request_topic: str) -> None:
    refused = queued.rejected(request_topic, status="FAILED", executionNumber=2)
    assert (refused["code"], "execution number 2" in refused["message"]) == ("ResourceNotFound", True)
    queued.accepted(request_topic, status="FAILED", executionNumber=1)


def test_an_execution_started_when_it_first_was_in_progress(queued: Cloud) -> None:
    queued.accepted("start-next")
    queued.now += 60
    queued.accepted("J1/update", status="IN_PROGRESS")
    execution = queued.accepted("J1/get")["execution"]
    assert execution["startedAt"] == execution["lastUpdatedAt"] - 60


def test_without_a_number_the_latest_execution_is_meant(queued: Cloud) -> None:
    with queued.store.changing("lamp", "", queued.now):
        queued.store.queue(queued.store.jobs["J1"], "lamp", queued.now)
    assert [topic for topic, _ in queued.published()] == ["notify"]
    assert queued.accepted("J1/get")["execution"]["executionNumber"] == 2
    assert queued.accepted("J1/get", executionNumber=1)["execution"]["executionNumber"] == 1


def test_the_checks_of_an_update_come_in_order(queued: Cloud) -> None:
    queued.accepted("J1/update", status="REJECTED")
    queued.published()
    wrong = {"executionNumber": 9, "expectedVersion": 9, "status": "FAILED"}
    assert queued.rejected("J1/update", **wrong, statusDetails={"a": ""})["code"] == "InvalidRequest"
    assert queued.rejected("J1/update", **wrong)["code"] == "ResourceNotFound"
    assert queued.rejected("J1/update", **wrong | {"executionNumber": 1})["code"] == "VersionMismatch"
    right_version = wrong | {"executionNumber": 1, "expectedVersion": 2}
    assert queued.rejected("J1/update", **right_version)["code"] == "InvalidStateTransition"


@pytest.mark.parametrize("request_topic", ["get", "start-next", "$next/get", "J1/get", "J1/update"])
def test_a_thing_that_does_not_exist_is_not_found(cloud: Cloud, request_topic: str) -> None:
    refused = cloud.rejected(request_topic, thing="nobody", status="FAILED", clientToken="t")
    assert (refused["code"], refused["clientToken"]) == ("ResourceNotFound", "t")


@pytest.mark.parametrize(
    "request_topic",
    ["notify", "get/accepted", "J1/get/accepted", "J1/namespace-n/cancel", "J1/namespace-/get", "a/b/c/d", ""],
)
def test_a_topic_that_stands_for_nothing_is_refused_there(cloud: Cloud, request_topic: str) -> None:
    assert cloud.rejected(request_topic, clientToken="t")["code"] == "InvalidTopic"


@pytest.mark.parametrize("topic", ["$aws/things/lamp/shadow/get", "$aws/things/lamp/jobs", "lamp", ""])
def test_topics_outside_jobs_are_not_requests(topic: str) -> None:
    assert topics.parse(topic) is None


@pytest.mark.parametrize("job_id", ["get", "update", "notify", "namespace-n", "start-next"])
def test_a_job_may_be_called_as_a_part_of_a_topic(cloud: Cloud, job_id: str) -> None:
    cloud.create_job(job_id)
    assert cloud.accepted(f"{job_id}/get")["execution"]["jobId"] == job_id
    cloud.accepted(f"{job_id}/update", status="SUCCEEDED")


@pytest.mark.parametrize(("request_topic", "thing"), [("a b/get", "lamp"), ("get", "a b"), ("get", "x" * 129)])
def test_names_in_topics_are_checked(queued: Cloud, request_topic: str, thing: tuple[str, str]) -> None:
    assert queued.rejected(request_topic, thing)["code"] == "InvalidRequest"


class TestHttp:
    def over_http(self, cloud: Cloud, operation: str, query: Any = None, **members: Any) -> Any:
        return cloud.data.answer_http(operation, {"thingName": "lamp", **members}, query or {}, cloud.now)

    def test_lists_and_next_are_of_the_namespace_in_the_query(self, queued: Cloud) -> None:
        assert self.over_http(queued, "GetPendingJobExecutions", {"namespaceId": "team"})["queuedJobs"] == []
        assert self.over_http(queued, "StartNextPendingJobExecution", {"namespaceId": "team"}) == {}
        assert self.over_http(queued, "StartNextPendingJobExecution")["execution"]["status"] == "IN_PROGRESS"

    @pytest.mark.parametrize("namespace", ["a b", ""])
    @pytest.mark.parametrize("operation", ["GetPendingJobExecutions", "StartNextPendingJobExecution"])
    def test_a_namespace_in_the_query_that_cannot_be_one_is_refused_also_if_it_is_empty(
        self, queued: Cloud, operation: str, namespace: str
    ) -> None:
        with pytest.raises(Refused, match=f"Value '{namespace}' at 'namespaceId' failed to satisfy constraint"):
            self.over_http(queued, operation, {"namespaceId": namespace})

    def test_a_job_is_found_by_its_id_whatever_its_namespace(self, queued: Cloud) -> None:
        queued.create_job("N1", namespaceId="team")
        assert self.over_http(queued, "DescribeJobExecution", jobId="N1")["execution"]["jobId"] == "N1"
        assert self.over_http(queued, "UpdateJobExecution", jobId="N1", status="FAILED") == {}

    def test_there_is_no_leniency(self, queued: Cloud) -> None:
        with pytest.raises(Refused, match="expectedVersion"):
            self.over_http(queued, "UpdateJobExecution", jobId="J1", status="FAILED", expectedVersion="1")

    def test_commands_are_refused_by_name(self, queued: Cloud) -> None:
        with pytest.raises(Refused, match="StartCommandExecution is not supported"):
            self.over_http(queued, "StartCommandExecution")


class TestNamespaces:
    @pytest.fixture
    def team(self, cloud: Cloud) -> Any:
        """J1 without namespace, N1 and N2 in the namespace team; notifications read."""
        cloud.create_job("J1")
        cloud.create_job("N1", namespaceId="team")
        cloud.create_job("N2", namespaceId="team")
        cloud.published()
        return cloud

    def test_each_namespace_has_its_own_list_and_its_own_next(self, team: Cloud) -> None:
        assert [entry["jobId"] for entry in team.accepted("get")["queuedJobs"]] == ["J1"]
        assert team.accepted("$next/get")["execution"]["jobId"] == "J1"
        assert team.accepted("$next/namespace-team/get")["execution"]["jobId"] == "N1"
        assert team.accepted("$next/namespace-other/get") == {"timestamp": int(team.now)}

    def test_a_job_is_found_on_the_topics_of_its_own_namespace_only(self, team: Cloud) -> None:
        assert team.accepted("N1/namespace-team/get")["execution"]["jobId"] == "N1"
        for request_topic in ("N1/get", "N1/update", "N1/namespace-other/get", "J1/namespace-team/update"):
            assert team.rejected(request_topic, status="FAILED")["code"] == "ResourceNotFound"

    def test_changes_are_announced_on_namespaced_topics_of_both_shapes(self, team: Cloud) -> None:
        team.accepted("N1/namespace-team/update", status="SUCCEEDED")
        announced = team.published()
        assert [topic for topic, _ in announced] == [
            "notify-namespace-team",
            "N1/notify-namespace-team/",
            "notify-next-namespace-team",
        ]
        listed = [{"jobId": "N2"}.items() <= entry.items() for entry in announced[0][1]["jobs"]["QUEUED"]]
        assert listed == [True]
        assert announced[1][1] == announced[0][1]
        assert announced[2][1]["execution"]["jobId"] == "N2"

    @pytest.mark.parametrize("settings", [ServiceSettings(namespace_topic_of_api_text=False)])
    def test_the_shape_of_the_api_text_can_be_switched_off(self, team: Cloud) -> None:
        team.accepted("N1/namespace-team/update", status="SUCCEEDED")
        assert [topic for topic, _ in team.published()] == ["notify-namespace-team", "notify-next-namespace-team"]

    def test_a_name_that_cannot_be_a_namespace_is_invalid(self, team: Cloud) -> None:
        assert team.rejected("$next/namespace-a b/get")["code"] == "InvalidRequest"


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["start-next", "update"]),
            st.sampled_from(["J0", "J1", "J2"]),
            st.sampled_from(list(ExecutionStatus)),
        ),
        max_size=12,
    )
)
def test_whatever_a_device_does_the_rules_of_the_queue_hold(
    iot: ServiceApi, data: ServiceApi, steps: list[tuple[str, str, ExecutionStatus]]
) -> None:
    from iot_jobs_simulator.control_plane import ControlPlane  # noqa: PLC0415 - a cloud of its own for each example
    from iot_jobs_simulator.device_plane import DevicePlane  # noqa: PLC0415
    from iot_jobs_simulator.jobs import rollout  # noqa: PLC0415
    from iot_jobs_simulator.jobs.store import JobStore  # noqa: PLC0415

    store = JobStore()
    control, device = ControlPlane(store, iot, {}), DevicePlane(store, data, iot)
    control.answer("CreateThing", {"thingName": "lamp"}, 0)
    arn = store.registry.find("lamp").arn
    for number in range(3):
        control.answer("CreateJob", {"jobId": f"J{number}", "targets": [arn], "document": "{}"}, number)
    rollout.advance(store, 3)
    store.take_publications()
    for now, (request, job_id, status) in enumerate(steps, 4):
        before = store.pending("lamp", "")
        was = {
            execution.job_id: (execution.status, execution.version) for execution in store.executions_of_thing("lamp")
        }
        topic = "$aws/things/lamp/jobs/" + (request if request == "start-next" else f"{job_id}/update")
        reply = perform_mqtt(
            device, topic, json.dumps({"status": status}).encode() if request == "update" else b"", now
        )
        assert reply is not None
        after = store.pending("lamp", "")
        names = [publication.topic.rsplit("/", 1)[1] for publication in store.take_publications()]
        assert ("notify" in names) == ({e.identity for e in before} != {e.identity for e in after})
        assert ("notify-next" in names) == ([e.identity for e in before[:1]] != [e.identity for e in after[:1]])
        assert names == sorted(names)
        assert list(after) == sorted(after, key=lambda e: (e.status != "IN_PROGRESS", e.queued_at, e.sequence))
        for execution in store.executions_of_thing("lamp"):
            status_before, version_before = was[execution.job_id]
            if not status_before.is_pending:
                assert (execution.status, execution.version) == (status_before, version_before)
            assert execution.version - version_before in (0, 1)


def test_every_status_has_its_moves() -> None:
    allowed = {
        (old, new)
        for old in ExecutionStatus
        for new in ExecutionStatus
        if JobExecution("j", "t", "", 1, 1, 0, 0, status=old).can_be_moved_by_device_to(new)
    }
    assert allowed == {
        (old, new) for old in (ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS) for new in DEVICE_MAY_SET
    }
