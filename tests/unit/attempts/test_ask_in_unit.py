"""A program that is asked something in a unit of its own, on the stand-in for systemd."""

from typing import TYPE_CHECKING

import pytest
from tests.support.buses import PLACED

from iot_jobs_agent.catalog import asking
from iot_jobs_agent.catalog.asking import LARGEST_BYTES, ask
from iot_jobs_agent.shim import bus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.buses import Systemd


@pytest.fixture
def script(systemd: "Systemd", tmp_path: "Path", monkeypatch: pytest.MonkeyPatch) -> "Path":
    """Where a test writes the program that is asked; it is asked on the bus of the test."""
    placed = PLACED.format(place=str(systemd.place))
    monkeypatch.setattr(asking, "_BOOT", f"{placed}{asking._BOOT}")
    program = tmp_path / "program"
    program.touch(mode=0o755)
    return program


async def asked(script: "Path", text: str, timeout_s: float = 15.0) -> tuple[int, bytes, str]:
    script.write_text(f"#!/bin/sh\n{text}\n")
    return await ask([str(script), "describe"], timeout_s, in_unit=True)


def unit_of(systemd: "Systemd") -> str:
    [call] = systemd.calls("StartUnit")
    return str(call[1])


async def test_it_answers_from_a_unit_of_its_own_of_which_nothing_is_left(script: "Path", systemd: "Systemd") -> None:
    code, output, problem = await asked(script, 'echo "$1 $JOB_PROTOCOL"; echo noise >&2; exit 3')
    assert (code, output, problem) == (3, b"describe 1\n", "")
    assert unit_of(systemd).startswith("iot-job-describe@")
    assert bus.is_over(unit_of(systemd))
    assert list((systemd.place / "sockets").iterdir()) == []


async def test_no_file_of_an_attempt_is_needed(script: "Path") -> None:
    _, output, _ = await asked(script, "cat; cat $JOB_FILE $JOB_SETTINGS_FILE; ls -A")
    assert output == b"{}{}{}.tmp\n"


async def test_a_death_by_signal_and_a_program_that_cannot_be_started_are_told(script: "Path") -> None:
    assert (await asked(script, "kill -SEGV $$"))[0] == -11
    script.write_text("#!/nowhere/interpreter\n")
    code, output, problem = await ask([str(script), "describe"], 15.0, in_unit=True)
    assert (code, output) == (-1, b"")
    assert problem.startswith("cannot be started (the interpreter named in its first line does not exist: install")


async def test_one_that_does_not_end_is_ended_with_all_it_has_started(script: "Path", systemd: "Systemd") -> None:
    code, _, problem = await asked(script, "trap '' TERM; setsid sleep 1000 & while :; do sleep 0.1; done", 1.0)
    assert (code, problem) == (-1, "did not end within 1 s")
    assert bus.is_over(unit_of(systemd))


async def test_one_that_says_too_much_is_ended(script: "Path", systemd: "Systemd") -> None:
    _, _, problem = await asked(script, "while :; do echo 0123456789012345678901234567890123456789; done")
    assert problem == f"said more than {LARGEST_BYTES} bytes"
    assert bus.is_over(unit_of(systemd))


async def test_what_it_leaves_behind_does_not_keep_us_waiting(script: "Path", systemd: "Systemd") -> None:
    assert await asked(script, "echo said; setsid sleep 1000 & exit 0") == (0, b"said\n", "")
    assert bus.is_over(unit_of(systemd))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("org.freedesktop.systemd1.NoSuchUnit", "there is no such profile"),
        ("org.freedesktop.DBus.Error.AccessDenied", "polkit does not let this user start it"),
    ],
)
async def test_a_refusal_of_systemds_is_told(script: "Path", systemd: "Systemd", error: str, words: str) -> None:
    systemd.behave(errors={"StartUnit": error})
    code, output, problem = await asked(script, "echo never")
    assert (code, output) == (-1, b"")
    assert problem.startswith("cannot be started (cannot start iot-job-describe@")
    assert words in problem
