"""field-a7: a search for strays that finds too much signals nobody, in a PID namespace where nobody else is hit."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root makes PID namespaces, with util-linux"
)
# What goes on in the namespace: pid 1 starts all others. The agent is a child with a child of its own, and its search
# is as wrong as can be: everything is an orphan of the attempt.
STORY = """
    import os, subprocess, sys
    from iot_jobs_agent.attempts import orphans
    from iot_jobs_agent.shim import processes

    def state(pid):
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    older = subprocess.Popen(["/bin/sleep", "1000"])
    stranger = subprocess.Popen(["/bin/sleep", "1000"], user=1234)
    while processes.ticks_now() <= processes.process(stranger.pid).started:
        pass
    middle = os.fork()
    if middle:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]))
    if agent := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]))
    orphans.is_orphan = lambda each, is_shim: True
    since = processes.ticks_now()
    for _ in range(3):
        subprocess.Popen(["/bin/sleep", "1000"])
    orphans.SWEEP_S = 2.0
    killed, alive = orphans.sweep("token", lambda pid: False, since)
    spared = {"init": 1, "parent": os.getppid(), "older": older.pid, "stranger": stranger.pid}
    print({name: state(pid) for name, pid in spared.items()})
    print(killed, alive)
"""


def test_field_a7_only_what_can_be_of_the_attempt_is_stopped() -> None:
    done = subprocess.run(
        [str(shutil.which("unshare")), "--pid", "--fork", "--mount-proc", sys.executable, "-c", textwrap.dedent(STORY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    spared, found = done.stdout.splitlines()
    assert spared == str({"init": "S", "parent": "S", "older": "S", "stranger": "S"})
    assert found == "3 0"
