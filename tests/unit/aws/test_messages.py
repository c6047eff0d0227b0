"""The service's topics and JSON: what is allowed is understood, whatever is missing; what is not is refused as such."""

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.messages import MalformedMessageError, Topics
from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus
from iot_jobs_agent.errors import RequestRefused

TOPICS = Topics("lamp")
P = "$aws/things/lamp/jobs"
JOB = ExecutionId("", "job-1", 1)
MEMBERS = ["jobId", "executionNumber", "versionNumber", "status", "statusDetails", "agent", "jobDocument"]


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 3.1.1, section 4.7.1.3: `+` is any one level."""
    levels, names = topic_filter.split("/"), topic.split("/")
    return len(levels) == len(names) and all(level in ("+", name) for level, name in zip(levels, names, strict=True))


def payload(**members: Any) -> bytes:
    return json.dumps(members).encode()


class TestTopics:
    def test_requests_go_where_shipped_clients_send_them(self) -> None:
        assert TOPICS.get == f"{P}/get"
        assert TOPICS.describe("", "$next") == f"{P}/$next/get"
        assert TOPICS.describe("team-a", "job-1") == f"{P}/job-1/namespace-team-a/get"
        assert TOPICS.update("", "job-1") == f"{P}/job-1/update"
        assert TOPICS.update("team-a", "job-1") == f"{P}/job-1/namespace-team-a/update"

    @pytest.mark.parametrize("job_id", ["job-1", "get", "update", "notify", "accepted", "namespace-team-a"])
    def test_answers_are_heard_through_five_filters_whatever_a_job_is_called(self, job_id: str) -> None:
        filters = TOPICS.answers(("", "team-a"))
        assert len(filters) == 5
        requests = [TOPICS.get]
        for namespace in ("", "team-a"):
            requests += [TOPICS.describe(namespace, job_id), TOPICS.update(namespace, job_id)]
        for request in requests:
            assert [f for f in filters if matches(f, f"{request}/accepted")] == [filters[requests.index(request)]]
            assert messages.is_answer(f"{request}/rejected")
            assert not messages.is_answer(request)

    def test_only_the_filters_of_what_is_served_are_needed(self) -> None:
        assert len(TOPICS.answers(("",))) == 3
        assert len(TOPICS.answers(("team-a", "team-b"))) == 2

    def test_every_notification_of_every_namespace_is_listened_to(self) -> None:
        both = [f"{P}/notify", f"{P}/notify-next"]
        theirs = [f"{P}/notify-namespace-a", f"{P}/notify-next-namespace-a"]
        assert TOPICS.notifications(("", "a"), with_api_text_form=False) == [*both, *theirs]
        assert TOPICS.notifications(("a",), with_api_text_form=True) == [*theirs, f"{P}/+/notify-namespace-a/"]

    @pytest.mark.parametrize(
        ("topic", "namespace", "is_complete"),
        [
            (f"{P}/notify", "", True),
            (f"{P}/notify-next", "", False),
            (f"{P}/notify-namespace-a", "a", True),
            (f"{P}/notify-next-namespace-a", "a", False),
            (f"{P}/job-1/notify-namespace-a/", "a", True),
            (f"{P}/notify-namespace-namespace-a", "namespace-a", True),
        ],
    )
    def test_a_notification_tells_its_namespace(self, topic: str, namespace: str, is_complete: bool) -> None:
        assert TOPICS.namespace_of(topic) == (namespace, is_complete)

    @pytest.mark.parametrize(
        "topic",
        ["", "notify", f"{P}", f"{P}x/notify", "$aws/things/other/jobs/notify", f"{P}/notify-else", f"{P}/x\n" * 500],
    )
    def test_a_message_that_is_not_a_notification_of_this_thing_is_malformed(self, topic: str) -> None:
        with pytest.raises(MalformedMessageError) as caught:
            TOPICS.namespace_of(topic)
        assert len(str(caught.value)) < 2000
        assert "\n" not in str(caught.value)


class TestJson:
    @pytest.mark.parametrize(
        "nonsense",
        [
            b"{",
            b"\xff",
            b"[]",
            b"7",
            b'"x"',
            b"null",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b"[" * 100_000,
        ],
    )
    def test_a_payload_that_is_not_an_object_is_malformed(self, nonsense: bytes) -> None:
        with pytest.raises(MalformedMessageError):
            messages.parse_object(nonsense)

    def test_nothing_at_all_is_an_empty_object(self) -> None:
        assert messages.parse_object(b"") == {}

    @given(st.binary(max_size=300))
    def test_bytes_are_an_object_or_malformed(self, data: bytes) -> None:
        """Random bytes name nothing: the one thing that is not malformed has no members that we read."""
        for is_complete in (True, False):
            with contextlib.suppress(MalformedMessageError):
                assert messages.parse_notification(data, "", is_complete=is_complete) == ()

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(), inner),
            max_leaves=20,
        )
    )
    def test_any_json_is_understood_or_malformed(self, value: Any) -> None:
        message = {"execution": value, "inProgressJobs": value, "queuedJobs": [value]}
        with contextlib.suppress(MalformedMessageError):
            assert all(
                re.fullmatch("[a-zA-Z0-9_-]{1,64}", named.job_id) for named in messages.parse_pending(message, "")
            )
        with contextlib.suppress(MalformedMessageError):
            found = messages.parse_execution(message, "")
            assert found is None or found.status in ExecutionStatus
        refused = messages.refusal({"code": value, "message": value, "executionState": value})
        assert messages.current_status(refused) in {None, *ExecutionStatus}


class TestNotifications:
    def test_a_list_names_what_is_in_progress_first(self) -> None:
        jobs = {"QUEUED": [{"jobId": "b"}], "IN_PROGRESS": [{"jobId": "a", "executionNumber": 2}]}
        named = messages.parse_notification(payload(jobs=jobs, timestamp=1), "team-a", is_complete=True)
        assert named == (ExecutionId("team-a", "a", 2), ExecutionId("team-a", "b", 1))

    @pytest.mark.parametrize("empty", [{}, {"jobs": {}}, {"jobs": None}, {"jobs": {"QUEUED": []}}, {"timestamp": 1}])
    def test_a_list_may_be_empty_in_every_way_that_is_documented(self, empty: dict[str, Any]) -> None:
        assert messages.parse_notification(payload(**empty), "", is_complete=True) == ()
        assert messages.parse_notification(payload(**empty), "", is_complete=False) == ()

    def test_the_next_one_is_named_alone(self) -> None:
        named = messages.parse_notification(payload(execution={"jobId": "job-1"}), "", is_complete=False)
        assert named == (JOB,)

    def test_what_is_named_twice_counts_once(self) -> None:
        twice = payload(jobs={"QUEUED": [{"jobId": "job-1"}, {"jobId": "job-1"}]})
        assert messages.parse_notification(twice, "", is_complete=True) == (JOB,)

    @pytest.mark.parametrize(
        "entry",
        [
            7, None, {}, {"jobId": 7}, {"jobId": ""}, {"jobId": "../x"}, {"jobId": "a/b"}, {"jobId": "a+"},
            {"jobId": "#"}, {"jobId": "$next"}, {"jobId": "a.b"}, {"jobId": "a\n"}, {"jobId": "x" * 65}, {"jobId": "ä"},
            {"jobId": "a", "executionNumber": "1"}, {"jobId": "a", "executionNumber": 1.0},
            {"jobId": "a", "executionNumber": True}, {"jobId": "a", "executionNumber": 0},
            {"jobId": "a", "executionNumber": -1}, {"jobId": "a", "executionNumber": 2**63},
        ],
    )  # fmt: skip
    def test_a_name_that_no_job_can_have_is_malformed(self, entry: Any) -> None:
        with pytest.raises(MalformedMessageError):
            messages.parse_notification(payload(jobs={"QUEUED": [entry]}), "", is_complete=True)

    @pytest.mark.parametrize("jobs", [[7], 7, {"QUEUED": 7}, {"QUEUED": {"jobId": "a"}}])
    def test_a_list_that_is_none_is_malformed(self, jobs: Any) -> None:
        with pytest.raises(MalformedMessageError):
            messages.parse_notification(payload(jobs=jobs), "", is_complete=True)


class TestAnswers:
    def test_a_pending_list_may_lack_everything(self) -> None:
        assert messages.parse_pending({}, "") == ()
        both = {"inProgressJobs": [{"jobId": "a"}], "queuedJobs": [{"jobId": "b"}]}
        assert [e.job_id for e in messages.parse_pending(both, "")] == ["a", "b"]

    def test_field_d7_what_is_larger_than_any_message_of_the_service_is_not_read(self) -> None:
        largest = b'{"a": "' + b"x" * (messages.LARGEST_BYTES - 9) + b'"}'
        assert len(largest) == messages.LARGEST_BYTES
        assert messages.parse_object(largest)
        with pytest.raises(messages.MalformedMessageError, match="larger than 132 KiB"):
            messages.parse_object(largest + b" ")

    def test_a_description_is_taken_as_far_as_it_goes(self) -> None:
        execution = {"jobId": "job-1", "status": "QUEUED", "queuedAt": 1767225600000, "somethingNew": []}
        found = messages.parse_execution({"execution": execution}, "")
        assert found == messages.ServiceExecution(JOB, ExecutionStatus.QUEUED, 0, "", None, queued_at=1767225600000)

    @pytest.mark.parametrize(
        ("queued_at", "known"), [(1767225600.123, 1767225600), ("now", 0), (None, 0), (-1, 0), (True, 0), (1e300, 0)]
    )
    def test_a_time_is_taken_in_whole_seconds_and_only_if_it_is_one(self, queued_at: Any, known: int) -> None:
        execution = {"jobId": "job-1", "status": "QUEUED", "queuedAt": queued_at}
        found = messages.parse_execution({"execution": execution}, "")
        assert found is not None
        assert found.queued_at == known

    def test_a_description_that_leaves_out_its_number_is_of_what_was_asked_for(self) -> None:
        found = messages.parse_execution({"execution": {"jobId": "job-1", "status": "QUEUED"}}, "", 3)
        assert found is not None
        assert found.id.execution_number == 3

    def test_whose_it_is_is_a_status_detail(self) -> None:
        execution = {
            "jobId": "job-1",
            "executionNumber": 2,
            "status": "IN_PROGRESS",
            "versionNumber": 3,
            "jobDocument": 7,
        }
        for details, claimed_by in [({"agent": "me"}, "me"), ({}, ""), ({"agent": 7}, ""), (None, ""), ([], "")]:
            found = messages.parse_execution({"execution": {**execution, "statusDetails": details}}, "a")
            assert found is not None
            assert (found.claimed_by, found.version, found.document) == (claimed_by, 3, 7)
            assert "7" not in repr(found)

    @pytest.mark.parametrize("nothing", [{}, {"execution": None}, {"execution": {}}])
    def test_nothing_pending_is_no_mistake(self, nothing: dict[str, Any]) -> None:
        assert messages.parse_execution(nothing, "") is None

    @pytest.mark.parametrize(
        "execution",
        [[7], {"jobId": "a"}, {"jobId": "a", "status": "DONE"}, {"jobId": "a", "status": 7}, {"status": "QUEUED"},
         {"jobId": "a", "status": "QUEUED", "versionNumber": "1"}],
    )  # fmt: skip
    def test_a_description_that_is_none_is_malformed(self, execution: Any) -> None:
        with pytest.raises(MalformedMessageError):
            messages.parse_execution({"execution": execution}, "")

    def test_a_refusal_tells_its_code_and_where_the_execution_stands(self) -> None:
        state = {"status": "CANCELED", "versionNumber": 2}
        refused = messages.refusal({"code": "InvalidStateTransition", "message": "no", "executionState": state})
        assert (refused.code, str(refused)) == ("InvalidStateTransition", "InvalidStateTransition: no")
        assert messages.current_status(refused) is ExecutionStatus.CANCELED

    def test_a_refusal_without_a_code_is_one_that_may_pass(self) -> None:
        refused = messages.refusal({"executionState": 7})
        assert refused.code == "InternalError"
        assert messages.current_status(refused) is None
        assert messages.current_status(RequestRefused("x", "y", {"status": "NEW"})) is None


class TestRequests:
    def test_a_description_is_asked_for_by_number_where_it_is_known(self) -> None:
        assert messages.describe_request(0, with_document=False) == {"includeJobDocument": False}
        assert messages.describe_request(2) == {"includeJobDocument": True, "executionNumber": 2}

    def test_an_update_always_names_status_and_execution_number_and_never_an_unset_member(self) -> None:
        bare = messages.update_request(Update(JOB, 1, ExecutionStatus.SUCCEEDED))
        assert bare == {"status": "SUCCEEDED", "executionNumber": 1, "includeJobExecutionState": False}
        full = Update(JOB, 1, ExecutionStatus.IN_PROGRESS, {"a": "b"}, expected_version=2, step_timeout_minutes=3)
        assert messages.update_request(full) == bare | {
            "status": "IN_PROGRESS", "statusDetails": {"a": "b"}, "expectedVersion": 2, "stepTimeoutInMinutes": 3,
        }  # fmt: skip
