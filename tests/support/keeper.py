"""What keeps one unit of the stand-in for systemd: starts its first process, ends what is left, tells how it ended."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.files import ROOT

from iot_jobs_agent.shim.lean import PR_SET_CHILD_SUBREAPER, prctl
from iot_jobs_agent.shim.processes import descendants, send

# The first process. It sees the place of this test where it would see /run/iot-jobs and its own /tmp, and as its cgroup
# whatever is below its keeper.
FIRST = """
import os, sys
from iot_jobs_agent.shim import entry, processes
place, private, instance, user, profile, config = sys.argv[1:]
family = set()
def cgroup(pid):
    if pid == "self":
        family.update(each.pid for each in processes.descendants(os.getppid()))
    return b"unit" if pid == "self" or int(pid) in family else b""
entry.SOCKETS, entry.PRIVATE, entry._cgroup = f"{place}/sockets", private, cgroup
if config:
    from pathlib import Path
    from iot_jobs_agent import privileged
    privileged.CONFIG = Path(config)
if int(user) != os.getuid():
    os.setgroups([])
    os.setresgid(int(user), int(user), int(user))
    os.setresuid(int(user), int(user), int(user))
sys.exit(privileged.main(instance, profile) if config else entry.main(instance))
"""
CLEAN = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE}  # systemd.service(5), SuccessExitStatus=
PAUSE_S = 0.01
PASSED_ON = ("PATH", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def keep(place: Path, name: str, invocation: str, behaviour: dict[str, Any]) -> None:
    """Be the unit, in a process of its own, until none of its processes is left."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    instance = name.partition("@")[2].removesuffix(".service")
    if name.startswith("iot-job-forget@"):
        shutil.rmtree(place / "home" / instance, ignore_errors=True)
        return
    if "ended" in behaviour:
        tell(place, instance, behaviour["ended"].format(invocation=invocation))
        return
    code = first(place, name, instance, invocation, behaviour)
    end_others(float(behaviour.get("stop_s", 30.0)))
    if "killed" in behaviour:
        tell(place, instance, behaviour["killed"].format(invocation=invocation))
        return
    is_success = code == 0 or -code in CLEAN
    how = "exited" if code >= 0 else "killed"
    result = "success" if is_success else "exit-code" if code > 0 else "signal"
    if (place / "tmp" / f"{instance}.timeout").exists():
        result = "timeout"
    status = str(code) if code >= 0 else signal.Signals(-code).name.removeprefix("SIG")
    note(place, instance, INVOCATION_ID=invocation, SERVICE_RESULT=result, EXIT_CODE=how, EXIT_STATUS=status)


def first(place: Path, name: str, instance: str, invocation: str, behaviour: dict[str, Any]) -> int:
    """Run the first process to its end; return its code, negative for a signal."""
    home, private = place / "home" / instance, place / "tmp" / invocation
    user = int(behaviour.get("uid", os.getuid()))
    for directory in (home, private):
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, user, -1)
    profile = name.removeprefix("iot-job-").partition("@")[0]
    config = behaviour.get("profiles", {}).get(profile, "")
    arguments = [str(place), f"{private}/iot-job", instance, str(user), profile, config]
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environment |= {"STATE_DIRECTORY": str(home), "INVOCATION_ID": invocation}
    with (place / "journal").open("ab") as journal:
        process = subprocess.Popen(
            [sys.executable, "-c", FIRST, *arguments],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=journal,
        )
        return process.wait()


def end_others(within_s: float) -> None:
    """End what the first process has left, as KillMode=control-group does: asked first, killed when it is time."""
    for number, until in ((signal.SIGTERM, time.monotonic() + within_s), (signal.SIGKILL, float("inf"))):
        asked: set[int] = set()
        while time.monotonic() < until:
            fresh = [each for each in descendants(os.getpid()) if each.pid not in asked]
            asked |= {each.pid for each in fresh if send(each, number) and send(each, signal.SIGCONT)}
            try:
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            except ChildProcessError:
                return
            select.select([], [], [], PAUSE_S)


def note(place: Path, instance: str, **environment: str) -> None:
    """Run the unit's ExecStopPost=, the shipped program."""
    text = (ROOT / "systemd" / "handler-ended").read_text().replace("/run/iot-jobs", str(place))
    subprocess.run(["/bin/sh", "-c", text, "handler-ended", instance], env=environment, check=True)


def tell(place: Path, instance: str, text: str) -> None:
    if text:
        (place / "ended" / instance).write_text(text)
