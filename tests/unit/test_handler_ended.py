"""What root notes when a handler's unit has ended: the shipped program, run with what systemd gives it."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.files import ROOT

PROGRAM = ROOT / "systemd" / "handler-ended"
INVOCATION = "0123456789abcdef" * 2


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "run" / "ended").mkdir(parents=True)
    return tmp_path


def noted(place: Path, **environment: str) -> str:
    """Run the program with this directory in place of /run/iot-jobs and of the tree of cgroups; return its note."""
    text = PROGRAM.read_text().replace("/run/iot-jobs", f"{place}/run").replace("/sys/fs/cgroup", f"{place}/cgroup")
    text = text.replace("/proc/self/cgroup", f"{place}/own")
    environment = {"INVOCATION_ID": INVOCATION, "SERVICE_RESULT": "success"} | environment
    subprocess.run(["/bin/sh", "-c", text, "handler-ended", "hash"], env=environment, check=True)
    return (place / "run" / "ended" / "hash").read_text()


def in_cgroup(place: Path, **files: str) -> None:
    (place / "own").write_text("0::/system.slice/iot-job.service\n12:pids:/elsewhere\n1:name=systemd:/elsewhere\n")
    group = place / "cgroup" / "system.slice" / "iot-job.service"
    group.mkdir(parents=True)
    for name, text in files.items():
        (group / name.replace("_", ".")).write_text(text)


def test_the_note_says_how_it_ended_and_what_memory_it_took(place: Path) -> None:
    in_cgroup(place, memory_peak="314572800\n", memory_events="low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert noted(place, SERVICE_RESULT="oom-kill", EXIT_CODE="killed", EXIT_STATUS="KILL") == (
        f"invocation={INVOCATION} result=oom-kill code=killed status=KILL peak=314572800 limit_hits=1 oom_kills=2\n"
    )


def test_a_unit_without_figures_or_a_first_process_is_noted_all_the_same(place: Path) -> None:
    (place / "own").write_text("2:memory:/x\n")
    assert noted(place, SERVICE_RESULT="resources") == (
        f"invocation={INVOCATION} result=resources code= status= peak= limit_hits= oom_kills=\n"
    )


def test_the_next_end_takes_the_place_of_the_last(place: Path) -> None:
    in_cgroup(place)
    noted(place, SERVICE_RESULT="a-very-long-word-of-systemd")
    assert noted(place, EXIT_CODE="exited", EXIT_STATUS="0") == (
        f"invocation={INVOCATION} result=success code=exited status=0 peak= limit_hits= oom_kills=\n"
    )


def test_the_note_is_for_root_and_the_agents_group_only(place: Path) -> None:
    in_cgroup(place)
    noted(place)
    assert (place / "run" / "ended" / "hash").stat().st_mode & 0o777 == 0o640


def test_the_program_can_be_executed() -> None:
    assert os.access(PROGRAM, os.X_OK)
