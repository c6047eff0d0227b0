"""How a handler's own unit comes to be started, or not: refusals, queues, what is there already, and a sick bus."""

import contextlib
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from iot_jobs_agent.attempts import units
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.units import UNIT, Units
from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId
from iot_jobs_agent.shim import bus

if TYPE_CHECKING:
    from conftest import Story
    from tests.support.buses import Systemd

SYSTEMD = "org.freedesktop.systemd1"
DBUS = "org.freedesktop.DBus.Error"
EXECUTION = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(EXECUTION, 0, 1)
UP = 'echo \'{"message": "up"}\' >&3; '
DEAD = "invocation={{invocation}} result={result} code={code} status={status} peak= limit_hits=\n"


def name(story: "Story", profile: str = "network") -> str:
    return Units(story.state, profile, {}).name(EXECUTION, "shell")


async def never_started(story: "Story") -> str:
    await story.until(lambda: any(isinstance(e, AttemptNeverStarted) for e in story.events))
    assert not any(isinstance(e, AttemptEnded) for e in story.events)
    assert not story.directory().exists()
    [event] = [e for e in story.events if isinstance(e, AttemptNeverStarted)]
    story.events.remove(event)
    return event.why


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (f"{SYSTEMD}.NoSuchUnit", "there is no such profile: `iot-jobs-agent check` says what to do"),
        (f"{SYSTEMD}.UnitMasked", "it is masked: run `systemctl unmask` on its template"),
        (f"{SYSTEMD}.LoadFailed", "its template cannot be loaded: see `systemctl status`"),
        (f"{SYSTEMD}.BadUnitSetting", "its template has a bad setting: run `systemd-analyze verify` on it"),
        (f"{SYSTEMD}.OnlyByDependency", f"StartUnit is refused ({SYSTEMD}.OnlyByDependency)"),
    ],
)
async def test_a_unit_that_systemd_cannot_start_is_told_with_the_fix(
    unit_story: "Story", systemd: "Systemd", error: str, words: str
) -> None:
    systemd.behave(errors={"StartUnit": error})
    result = await unit_story.run("exit 0")
    assert (result.ending, result.reason) == (Ending.CANNOT_START, f"cannot start {name(unit_story)}: {words}")
    assert list((systemd.place / "sockets").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (f"{DBUS}.AccessDenied", "polkit does not let this user start it: install the shipped polkit rule"),
        (f"{DBUS}.InteractiveAuthorizationRequired", "polkit does not let this user start it"),
        (f"{SYSTEMD}.TransactionIsDestructive", "the system is shutting down"),
        (f"{SYSTEMD}.ShuttingDown", "the system is shutting down"),
        (f"{DBUS}.NoReply", "the system bus or systemd did not answer"),
        (f"{DBUS}.LimitsExceeded", "the system bus or systemd did not answer"),
    ],
)
async def test_a_refusal_that_says_nothing_of_the_handler_leaves_the_attempt_unstarted(
    unit_story: "Story", systemd: "Systemd", error: str, words: str
) -> None:
    systemd.behave(errors={"StartUnit": error})
    unit_story.start("exit 0")
    assert f"cannot start {name(unit_story)}: {words}" in await never_started(unit_story)
    systemd.behave()
    assert (await unit_story.run("exit 0")).code == 0


async def test_without_a_bus_no_attempt_has_started(unit_story: "Story", systemd: "Systemd") -> None:
    systemd.stop()
    unit_story.start("exit 0")
    assert "the system bus cannot be reached (Connection refused)" in await never_started(unit_story)


async def test_without_the_place_for_sockets_no_attempt_has_started(unit_story: "Story", systemd: "Systemd") -> None:
    (systemd.place / "sockets").rmdir()
    unit_story.start("exit 0")
    assert "run `systemd-tmpfiles --create`" in await never_started(unit_story)
    (systemd.place / "sockets").mkdir()


@pytest.mark.parametrize(
    ("how", "ending"),
    [
        (("exit-code", "exited", "203"), Ending.CANNOT_START),
        (("resources", "", ""), Ending.CANNOT_START),
        (("timeout", "killed", "TERM"), Ending.CANNOT_START),
        (("success", "killed", "TERM"), Ending.LOST),  # somebody's `systemctl stop`, or a shutdown
    ],
)
async def test_a_unit_that_ends_before_its_first_process_connects_has_not_run_the_handler(
    unit_story: "Story", systemd: "Systemd", how: tuple[str, str, str], ending: Ending
) -> None:
    result, code, status = how
    systemd.behave(ended=DEAD.format(result=result, code=code, status=status))
    told = await unit_story.run("exit 0")
    assert told.ending is ending
    if ending is Ending.CANNOT_START:
        words = f"its unit ended as {result} ({code}, {status}): see `systemctl status`"
        assert told.reason == f"cannot start {name(unit_story)}: {words}"


@pytest.mark.parametrize("text", ["", "{before}", "invocation= result=exit-code", "invo", "\x00\xff"])
async def test_without_systemds_word_of_this_start_an_attempt_is_interrupted(
    unit_story: "Story", systemd: "Systemd", text: str
) -> None:
    before = f"invocation={'1' * 32} result=exit-code code=exited status=203 peak= limit_hits=\n"
    instance = name(unit_story).partition("@")[2].removesuffix(".service")
    (systemd.place / "ended" / instance).write_text(before)
    systemd.behave(ended=text.replace("{before}", before))
    assert (await unit_story.run("exit 0")).ending is Ending.LOST


@pytest.mark.parametrize("text", ["invocation={invocation} result=exit-code code=exited", "invocation={invocation}"])
async def test_a_torn_word_of_systemd_costs_no_result(unit_story: "Story", systemd: "Systemd", text: str) -> None:
    systemd.behave(killed=text)
    result = await unit_story.run("kill -KILL $PPID; exec sleep 1000")
    assert (result.ending, result.signal) == (Ending.SIGNALED, signal.SIGKILL)


async def test_a_start_that_waits_in_systemds_queue_is_waited_for(unit_story: "Story", systemd: "Systemd") -> None:
    systemd.behave(is_queued=True)
    unit_story.start("echo ran")
    await systemd.called("StartUnit")
    await systemd.called("ListUnitsByNames", len(systemd.calls("ListUnitsByNames")) + 3)
    systemd.behave()
    assert (await unit_story.ended()).stdout == "ran\n"


async def test_a_start_that_still_waits_at_the_deadline_is_taken_back(unit_story: "Story", systemd: "Systemd") -> None:
    systemd.behave(is_queued=True)
    result = await unit_story.run("echo ran", timeout_s=0.5, max_timeout_s=0.5, grace_s=0.5)
    assert (result.ending, result.stdout, result.leftovers_alive) == (Ending.DEADLINE, "", 0)
    assert bus.is_over(name(unit_story))


async def test_a_start_that_still_waits_when_the_attempt_is_stopped_is_taken_back(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    systemd.behave(is_queued=True)
    unit_story.start("echo ran")
    await systemd.called("StartUnit")
    unit_story.attempts.stop(ATTEMPT)
    result = await unit_story.ended()
    assert (result.ending, result.stdout, result.leftovers_alive) == (Ending.STOPPED, "", 0)
    assert bus.is_over(name(unit_story))


async def test_what_an_earlier_attempt_left_in_the_unit_is_ended_before_another_is_started(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    systemd.behave(is_queued=True)
    bus.start_unit(name(unit_story))
    unit_story.start("exit 0")
    assert "what an earlier attempt has left in it is being ended" in await never_started(unit_story)
    assert bus.is_over(name(unit_story))
    systemd.behave()
    assert (await unit_story.run("exit 0")).code == 0


async def test_the_socket_of_a_shim_that_was_killed_is_in_nobodys_way(unit_story: "Story", systemd: "Systemd") -> None:
    instance = name(unit_story).partition("@")[2].removesuffix(".service")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as old:
        old.bind(str(systemd.place / "sockets" / instance))
    assert (await unit_story.run("exit 0")).code == 0
    assert list((systemd.place / "sockets").iterdir()) == []


async def test_a_restart_of_the_bus_in_the_middle_costs_nothing(unit_story: "Story", systemd: "Systemd") -> None:
    unit_story.start(f"mkfifo go; {UP}read word < go; echo $word; exit 4")
    await unit_story.said("up")
    assert systemd.daemon is not None
    assert systemd.manager is not None
    systemd.restart_bus()
    [home] = (systemd.place / "home").iterdir()
    gate = os.open(home / "go", os.O_RDWR)
    os.write(gate, b"heard\n")
    result = await unit_story.ended()
    os.close(gate)
    assert (result.ending, result.code, result.stdout) == (Ending.EXITED, 4, "heard\n")


async def test_a_handler_has_the_profile_that_the_configuration_gives_it(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    systemd.behave(errors={"StartUnit": f"{SYSTEMD}.NoSuchUnit"})
    step = replace(unit_story.step("exit 0"), handler="fixed")
    unit_story.attempts.start(ATTEMPT, step, Facts(thing_name="thing-1"))
    await unit_story.ended()
    assert [call[1] for call in systemd.calls("StartUnit")] == [name(unit_story, "packages")]


async def test_a_privileged_profile_starts_what_roots_configuration_says_with_the_agents_params(
    unit_story: "Story", systemd: "Systemd", tmp_path: Path
) -> None:
    handlers = tmp_path / "handlers"
    handlers.mkdir(mode=0o755)
    script = '#!/bin/sh\necho root "$1"; cat; cat "$JOB_SETTINGS_FILE"; ls /proc/self/fd | wc -l; echo ${JOB_STEP}\n'
    (handlers / "fixed").write_text(script)
    (handlers / "fixed").chmod(0o755)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[handlers]\nlauncher = "units"\nenabled = ["fixed"]\ndirectories = ["{handlers}"]\n'
        '[handler.fixed]\nprofile = "packages"\nown = 1\n'
    )
    systemd.behave(profiles={"packages": str(config)})
    step = unit_story.step("echo of the agent", input='{"a": 1}', settings='{"own": 2}')
    unit_story.attempts.start(ATTEMPT, replace(step, handler="fixed"), Facts(thing_name="thing-1"))
    result = await unit_story.ended()
    assert (result.code, result.stdout) == (0, 'root run\n{"a": 1}{"own": 1}5\n0\n')
    config.write_text(config.read_text().replace('"packages"', '"services"'))
    second = replace(ATTEMPT, number=2)
    unit_story.attempts.start(second, replace(step, handler="fixed"), Facts(thing_name="thing-1"))
    refused = await unit_story.ended(second)
    assert refused.ending is Ending.CANNOT_START
    assert refused.reason == f'{config} does not say profile = "packages" in [handler.fixed]'


def test_a_units_name_tells_apart_executions_and_devices_states_and_tells_nothing_else(tmp_path: Path) -> None:
    own = Units(tmp_path, "network", {"a": "packages"})
    found = {
        own.name(EXECUTION, ""),
        own.name(replace(EXECUTION, execution_number=2), ""),
        own.name(replace(EXECUTION, job_id="job-2"), ""),
        own.name(replace(EXECUTION, namespace="n"), ""),
        own.name(EXECUTION, "a"),
        Units(tmp_path / "other", "network", {}).name(EXECUTION, ""),
    }
    assert len(found) == 6
    assert all(UNIT.fullmatch(each) and "job-1" not in each.replace("iot-job-", "") for each in found)


async def test_what_a_handler_left_is_removed_by_systemd_once_the_execution_is_settled(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    await unit_story.run("exit 0")
    unit_story.attempts.forget(EXECUTION)
    await systemd.called("StartUnit", 2)
    instance = name(unit_story).partition("@")[2]
    assert systemd.calls("StartUnit")[1] == ["StartUnit", f"iot-job-forget@{instance}", "fail"]


def test_that_nothing_can_be_removed_now_is_logged(systemd: "Systemd", tmp_path: Path) -> None:
    systemd.behave(errors={"StartUnit": f"{DBUS}.AccessDenied"})
    with structlog.testing.capture_logs() as logs:
        Units(tmp_path, "network", {}).forget(".job-1.1")
    assert [(log["event"], log["execution"]) for log in logs] == [("cannot be removed", ".job-1.1")]


def test_a_unit_that_cannot_be_ended_is_told_as_that(systemd: "Systemd", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "END_S", 0.3)
    unit = "iot-job-network@0123456789abcdef01234567.service"
    assert units.end(unit)
    systemd.behave(is_queued=True, errors={"StopUnit": f"{DBUS}.AccessDenied"})
    bus.start_unit(unit)
    assert not units.end(unit)
    systemd.behave(is_queued=True)
    assert units.end(unit)


async def test_an_attempt_whose_unit_cannot_be_ended_is_lost_with_something_alive(
    unit_story: "Story", systemd: "Systemd", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "END_S", 0.3)
    unit_story.start(f"{UP}exec sleep 1000")
    await unit_story.said("up")
    systemd.behave(errors={"ListUnitsByNames": f"{DBUS}.NoReply"})
    os.kill(unit_story.pid_of_shim(), signal.SIGKILL)
    result = await unit_story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.LOST, 1)
    assert result.reason == f"interrupted, and {name(unit_story)} cannot be ended"
