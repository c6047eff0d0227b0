"""What passes between a shim and the first process of its handler's unit, and that it passes to nobody else."""

import contextlib
import json
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, StartReason

if TYPE_CHECKING:
    from conftest import Story
    from tests.support.buses import Systemd

EXECUTION = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(EXECUTION, 0, 1)
SECOND = AttemptId(EXECUTION, 0, 2)
UP = 'echo \'{"message": "up"}\' >&3; '
ENDED = "invocation={invocation} result=success code=exited status=0 peak= limit_hits=\n"


def instance(story: "Story") -> str:
    return Units(story.state, "network", {}).name(EXECUTION, "").partition("@")[2].removesuffix(".service")


def home(story: "Story", systemd: "Systemd") -> Path:
    return systemd.place / "home" / instance(story)


async def test_the_environment_is_clean_and_names_what_is_the_units_own(
    unit_story: "Story", systemd: "Systemd", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")
    result = await unit_story.run('env -0 | tr "\\0" "\\n"')
    said = dict(line.split("=", 1) for line in result.stdout.splitlines())
    own = home(unit_story, systemd)
    expected = {"HOME": own, "JOB_DIR": own, "PWD": own, "TMPDIR": own / ".tmp", "JOB_RESULT_FILE": own / ".result"}
    assert {key: said[key] for key in expected} == {key: str(value) for key, value in expected.items()}
    assert (said["JOB_ID"], said["JOB_PHASE"], said["JOB_CONTROL_FD"]) == ("job-1", "run", "3")
    assert not {"SECRET", "INVOCATION_ID", "STATE_DIRECTORY"} & said.keys()
    assert str(unit_story.state) not in result.stdout


async def test_the_params_and_the_settings_are_in_files_that_nobody_else_may_read(unit_story: "Story") -> None:
    script = 'cat; cat "$JOB_FILE" "$JOB_SETTINGS_FILE"; stat -c %a "$JOB_FILE" "$JOB_SETTINGS_FILE"'
    result = await unit_story.run(script, input='{"a": "ä"}', settings='{"s": 1}')
    assert result.stdout == '{"a": "ä"}{"a": "ä"}{"s": 1}400\n400\n'


async def test_a_handler_has_four_descriptors_and_none_of_its_shim(unit_story: "Story") -> None:
    result = await unit_story.run("readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3")
    links = result.stdout.splitlines()
    assert links[0].endswith("/job.json")
    assert [link.partition(":")[0] for link in links[1:]] == ["pipe"] * 3


async def test_no_other_descriptor_is_open_in_a_handler(unit_story: "Story") -> None:
    result = await unit_story.python("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:5])")
    assert result.stdout == "[0, 1, 2, 3, 4]\n"  # the last is that of the directory which was listed


@pytest.mark.parametrize(
    ("script", "parsed", "bad"),
    [
        ('echo \'{"reason": "r"}\' > "$JOB_RESULT_FILE"', {"reason": "r"}, ""),
        ('echo "[]" > "$JOB_RESULT_FILE"', None, "not a JSON object"),
        ('mkdir "$JOB_RESULT_FILE"', None, "regular file"),
        ('ln -s "$JOB_FILE" "$JOB_RESULT_FILE"', None, "cannot be read"),
        ('rm -rf "$JOB_DIR"', None, ""),
    ],
)
async def test_the_result_file_may_hold_anything(unit_story: "Story", script: str, parsed: object, bad: str) -> None:
    result = await unit_story.run(script)
    assert (result.code, result.handler_result) == (0, parsed)
    assert bad in result.bad_result
    assert bool(bad) == bool(result.bad_result)


async def test_the_longest_result_and_traceback_arrive_even_if_json_makes_them_longer(unit_story: "Story") -> None:
    text = "é" * 16370
    script = (
        "import os; d = os.environ['JOB_DIR'];"
        f"open(os.environ['JOB_RESULT_FILE'], 'w', encoding='utf-8').write('{{\"reason\": \"{text}\"}}');"
        "open(d + '/traceback', 'wb').write(b'\\0' * 20000)"
    )
    result = await unit_story.python(script.replace(text, "' + 'é' * 16370 + '"))
    assert result.handler_result == {"reason": text}


async def test_the_traceback_of_an_internal_error_reaches_the_agents_log(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    with structlog.testing.capture_logs() as logs:
        await unit_story.run('echo "Traceback: it raised" > "$JOB_DIR/traceback"')
    assert [log["traceback"] for log in logs if log["event"] == "the handler raised"] == ["Traceback: it raised\n"]
    assert not (home(unit_story, systemd) / "traceback").exists()


@pytest.mark.parametrize("make", ["mkfifo", "mkdir", 'ln -s "$JOB_FILE"'])
async def test_no_traceback_is_read_from_what_is_no_file(unit_story: "Story", make: str) -> None:
    assert (await unit_story.run(f'{make} "$JOB_DIR/traceback"')).code == 0


async def test_a_checkpoint_is_kept_by_the_shim_and_handed_to_the_next_attempt(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    await unit_story.run('echo \'{"checkpoint": {"at": 3}}\' >&3; ls -A; echo forged > checkpoint.json')
    assert json.loads((unit_story.job_directory() / "checkpoint.json").read_text()) == {"at": 3}
    resumed = Facts(thing_name="thing-1", phase="resume", reason=StartReason.KILLED)
    unit_story.start("cat checkpoint.json; stat -c %a checkpoint.json", SECOND, resumed)
    assert (await unit_story.ended(SECOND)).stdout == '{"at": 3}600\n'


@pytest.mark.parametrize(
    ("attempt", "facts", "is_kept"),
    [
        (ATTEMPT, Facts("thing-1"), False),
        (AttemptId(EXECUTION, 1, 1), Facts("thing-1"), True),
        (SECOND, Facts("thing-1", "run", StartReason.KILLED), False),
        (SECOND, Facts("thing-1", "resume", StartReason.KILLED), True),
        (SECOND, Facts("thing-1", "run", StartReason.RETRY), True),
    ],
)
async def test_a_job_directory_is_emptied_for_a_fresh_start_and_kept_for_any_other(
    unit_story: "Story", systemd: "Systemd", attempt: AttemptId, facts: Facts, is_kept: bool
) -> None:
    own = home(unit_story, systemd)
    (own / "closed" / "below").mkdir(parents=True)
    (own / "closed" / "below" / "file").touch()
    (own / "link").symlink_to(systemd.place)
    (own / "closed").chmod(0)
    unit_story.start("ls -A", attempt, facts)
    result = await unit_story.ended(attempt)
    assert result.stdout.split() == ([".tmp", "closed", "link"] if is_kept else [".tmp"])
    assert (systemd.place / "sockets").is_dir()


async def test_a_handler_that_cannot_be_started_is_told_with_the_reason(unit_story: "Story") -> None:
    result = await unit_story.run("", argv=("/no/such/program",))
    assert (result.ending, result.reason) == (
        Ending.CANNOT_START,
        "cannot start /no/such/program: No such file or directory",
    )


async def connected(story: "Story", systemd: "Systemd") -> socket.socket:
    """Start an attempt whose unit stays in the queue, and connect in place of its first process."""
    systemd.behave(is_queued=True)
    story.start("echo ran", grace_s=0.5)
    path = systemd.place / "sockets" / instance(story)
    await systemd.called("StartUnit")
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(10.0)
    peer.connect(str(path))
    return peer


def received(peer: socket.socket) -> dict[str, int]:
    message, descriptors, *_ = socket.recv_fds(peer, 4096, 16)
    return dict(zip(json.loads(message)["names"], descriptors, strict=True)) if message else {}


async def test_the_first_to_connect_as_the_units_user_gets_everything_and_nobody_gets_it_again(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    with closing(await connected(unit_story, systemd)) as peer:
        given = received(peer)
        assert given.keys() == {"spec", "job", "settings", "1", "2", "3"}
        assert not (systemd.place / "sockets" / instance(unit_story)).exists()
        os.write(given["1"], b"heard\n")
        for fd in given.values():
            os.close(fd)
        peer.send(b'{"invocation": "1"}')
        peer.send(b'{"status": 256, "result": {}, "reason": "", "traceback": "", "left": 0, "is_stopped": false}')
        systemd.behave(ended=ENDED)
        result = await unit_story.ended()
    assert (result.ending, result.code, result.stdout) == (Ending.EXITED, 1, "heard\n")


async def test_another_users_connection_gets_nothing(
    unit_story: "Story", systemd: "Systemd", as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    systemd.behave(is_queued=True)
    with as_nobody():
        pass
    unit_story.start("echo ran")
    await systemd.called("StartUnit")
    for _ in range(20):
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as stranger:
            stranger.settimeout(10.0)
            with as_nobody():
                stranger.connect(str(systemd.place / "sockets" / instance(unit_story)))
            with contextlib.suppress(ConnectionResetError):
                assert socket.recv_fds(stranger, 4096, 16)[:2] == (b"", [])
    systemd.behave()
    assert (await unit_story.ended()).stdout == "ran\n"


async def test_a_unit_with_a_user_of_its_own_is_known_by_it(
    unit_story: "Story", systemd: "Systemd", as_nobody: object
) -> None:
    systemd.behave(uid=61_999)
    result = await unit_story.run('id -u; touch "$JOB_DIR/own"; echo "{}" > "$JOB_RESULT_FILE"')
    assert (result.code, result.stdout, result.handler_result) == (0, "61999\n", {})


async def test_while_systemd_cannot_tell_whose_a_connection_is_it_waits(
    unit_story: "Story", systemd: "Systemd", as_nobody: object
) -> None:
    refused = {"LookupDynamicUserByUID": "org.freedesktop.DBus.Error.NoReply"}
    systemd.behave(uid=61_999, errors=refused)
    unit_story.start("echo ran")
    await systemd.called("LookupDynamicUserByUID")
    systemd.behave(uid=61_999)
    assert (await unit_story.ended()).stdout == "ran\n"


async def test_a_user_that_systemd_knows_as_another_units_gets_nothing(
    unit_story: "Story", systemd: "Systemd", as_nobody: object
) -> None:
    systemd.behave(uid=61_999, errors={"LookupDynamicUserByUID": "org.freedesktop.systemd1.NoSuchDynamicUser"})
    result = await unit_story.run("echo ran")
    assert (result.ending, result.stdout) == (Ending.CANNOT_START, "")


@pytest.mark.parametrize(
    "message",
    [
        b"not JSON",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b'{"status": "0"}',
        b'{"status": true}',
        b'{"used_bytes": []}',
        b'{"used_bytes": "x"}',
        b'{"result": 1}',
        b'{"left": {}}',
        b'{"unknown": 1}',
        b"{" + b" " * 190_000 + b'"status": 0',
    ],
)
async def test_a_message_that_no_first_process_sends_ends_the_conversation_and_nothing_else(
    unit_story: "Story", systemd: "Systemd", message: bytes
) -> None:
    with closing(await connected(unit_story, systemd)) as peer:
        for fd in received(peer).values():
            os.close(fd)
        peer.send(b'{"invocation": "1"}')
        peer.send(message)
        assert peer.recv(1) == b""
        systemd.behave(ended=ENDED)
        result = await unit_story.ended()
    assert (result.ending, result.code) == (Ending.EXITED, 0)
    assert result.reason.startswith("the first process of its unit failed")
    assert (unit_story.directory() / "shim.log").read_text() == ""


async def test_a_first_process_that_is_gone_before_it_is_answered_costs_no_shim(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    (await connected(unit_story, systemd)).close()
    systemd.behave(ended=ENDED.replace("success", "exit-code").replace("status=0", "status=1"))
    assert (await unit_story.ended()).ending is Ending.CANNOT_START


async def test_a_stop_ends_a_unit_whose_first_process_says_nothing(unit_story: "Story", systemd: "Systemd") -> None:
    with closing(await connected(unit_story, systemd)) as peer:
        for fd in received(peer).values():
            os.close(fd)
        unit_story.attempts.stop(ATTEMPT)
        result = await unit_story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.STOPPED, 0)
