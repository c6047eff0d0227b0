"""The messages that are kept: about which executions, how many, and how much of them."""

from collections.abc import Iterator

import pytest

from iot_jobs_simulator import message_log
from iot_jobs_simulator.message_log import MessageLog


@pytest.fixture
def log() -> Iterator[MessageLog]:
    times = iter(range(10**9))
    return MessageLog(lambda: next(times), lambda thing, job: thing != "stranger" and job != "$next")  # type: ignore[return-value]


def texts(log: MessageLog, thing: str = "lamp", job: str = "J1") -> list[tuple[str, list[str]]]:
    return [(each["payload"], [answer["payload"] for answer in each["answers"]]) for each in log.listed(thing, job)]


def test_a_request_is_kept_with_its_answers(log: MessageLog) -> None:
    answered = log.add_request("client", "$aws/things/lamp/jobs/J1/update", b"asked", "lamp", "J1")
    assert log.listed("lamp", "J1")[0]["answers"] == []
    answered("$aws/things/lamp/jobs/J1/update/accepted", b"one")
    answered("$aws/things/lamp/jobs/J1/update/accepted", b"two")
    (message,) = log.listed("lamp", "J1")
    assert (message["client"], message["topic"], message["at"], message["sizeBytes"]) == (
        "client", "$aws/things/lamp/jobs/J1/update", 0, 5,
    )  # fmt: skip
    assert message["answers"][1] == {
        "at": 2, "topic": "$aws/things/lamp/jobs/J1/update/accepted", "payload": "two", "sizeBytes": 3,
    }  # fmt: skip
    assert texts(log) == [("asked", ["one", "two"])]


@pytest.mark.parametrize("job_id", ["$next", None])
def test_a_request_that_names_no_job_is_kept_once_an_answer_says_which_it_got(
    log: MessageLog, job_id: str | None
) -> None:
    answered = log.add_request("client", "topic", b"asked", "lamp", job_id)
    answered("topic/accepted", b'{"execution":{"thingName":"lamp","jobId":"J2"}}')
    answered("topic/accepted", b'{"execution":{"thingName":"lamp","jobId":"J2"}}')
    assert [(asked, len(answers)) for asked, answers in texts(log, job="J2")] == [("asked", 2)]
    log.add_request("client", "topic", b"asked", "lamp", job_id)("topic/accepted", b"{}")
    assert len(texts(log, job="J2")) == 1


def test_an_id_that_a_device_wrote_into_a_string_is_not_taken_for_one_of_ours(log: MessageLog) -> None:
    answered = log.add_request("client", "topic", b"", "lamp", None)
    answered("topic/accepted", rb'{"clientToken":"\"jobId\":\"J2\""}')
    assert log.listed("lamp", "J2") == []


def test_notify_next_is_kept_and_notify_is_not(log: MessageLog) -> None:
    sent: list[tuple[str, bytes]] = []
    publish = log.noting(lambda topic, payload: sent.append((topic, payload)))
    entry = b'{"timestamp":1,"execution":{"jobId":"J1"}}'
    for name in ("notify-next", "notify", "notify-next-namespace-N"):
        publish(f"$aws/things/lamp/jobs/{name}", entry)
    publish("$aws/things/lamp/jobs/notify-next", b'{"timestamp":1}')
    publish("$aws/events/job/J1/completed", b'{"jobId":"J1"}')
    assert len(sent) == 5
    kept = log.listed("lamp", "J1")
    assert [(each["topic"], each["client"]) for each in kept] == [
        ("$aws/things/lamp/jobs/notify-next", ""),
        ("$aws/things/lamp/jobs/notify-next-namespace-N", ""),
    ]


def test_what_is_about_no_execution_is_not_kept(log: MessageLog) -> None:
    log.add_request("client", "topic", b"asked", "stranger", "J1")("topic/rejected", b"no")
    assert log.listed("stranger", "J1") == []


def test_the_last_messages_of_an_execution_are_kept(log: MessageLog) -> None:
    for number in range(message_log.MAX_MESSAGES + 7):
        log.add_request("client", "topic", b"%d" % number, "lamp", "J1")
    kept = texts(log)
    assert (kept[0][0], len(kept)) == ("7", message_log.MAX_MESSAGES)


def test_the_executions_that_were_spoken_of_last_are_kept(log: MessageLog) -> None:
    for number in range(message_log.MAX_EXECUTIONS):
        log.add_request("client", "topic", b"", "lamp", f"J{number}")
    log.add_request("client", "topic", b"", "lamp", "J0")
    log.add_request("client", "topic", b"", "lamp", "new")
    kept = [job for job in ("J0", "J1", "J2", "new") if log.listed("lamp", job)]
    assert kept == ["J0", "J2", "new"]


def test_a_long_payload_is_cut_and_its_size_is_said(log: MessageLog) -> None:
    log.add_request("client", "topic", b"\xff" + b"x" * 10_000, "lamp", "J1")
    (message,) = log.listed("lamp", "J1")
    assert message["payload"] == "\ufffd" + "x" * (message_log.MAX_PAYLOAD_BYTES - 1)
    assert message["sizeBytes"] == 10_001


def test_all_of_it_has_a_size_that_is_never_exceeded(log: MessageLog) -> None:
    payload = b"x" * message_log.MAX_PAYLOAD_BYTES
    for number in range(300):
        for _ in range(message_log.MAX_MESSAGES):
            log.add_request("client", "topic", payload, f"t{number}", "J1")("topic", payload)
    kept = [each for number in range(300) for each in log.listed(f"t{number}", "J1")]
    size = sum(len(each["payload"]) + len(each["answers"][0]["payload"]) for each in kept)
    assert message_log.MAX_BYTES - 2 * 50 * len(payload) <= size <= message_log.MAX_BYTES
    assert log._bytes == size
    assert log.listed("t299", "J1")


def test_an_answer_to_a_message_that_is_forgotten_counts_for_nothing(log: MessageLog) -> None:
    answered = log.add_request("client", "topic", b"x" * 10, "lamp", "J1")
    for _ in range(message_log.MAX_MESSAGES):
        log.add_request("client", "topic", b"", "lamp", "J1")
    assert log._bytes == 0
    answered("topic", b"late")
    assert log._bytes == 0
