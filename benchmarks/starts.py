"""What starting a handler costs: the CPU time of everybody who has a part in it, for each launcher and profile.

Runs on a device that has the package, as the agent's user, by the agent's own Python:

    sudo runuser -u iot-jobs-agent -- /usr/lib/iot-jobs-agent/bin/python3 -I - 20 light network < benchmarks/starts.py

Each start is that of a handler which ends at once. The unit's share is that of systemd with all that it starts (the
mounts, the first process, the note of the end), of the bus and of polkit; the shim's is there with both launchers.
Kernel threads that clean up later are not counted.
"""

import os
import sys
import tempfile
from pathlib import Path

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.job import AttemptId, ExecutionId, Step, StepKind

PROFILES = ("light", "network", "isolated")
TICKS = os.sysconf("SC_CLK_TCK")
SERVERS = ("systemd", "dbus-daemon", "dbus-broker", "polkitd")


def main(times: int, profiles: tuple[str, ...]) -> None:
    """Print a Markdown table: milliseconds of CPU for a start, by who spent them."""
    servers = sorted(set(_servers().values()))
    print(f"| launcher, profile | {' | '.join(servers)} | the unit in all | shim |")
    print("|---|" + "---|" * (len(servers) + 2))
    with tempfile.TemporaryDirectory(prefix="iot-jobs-starts-") as scratch:
        for profile in ("", *profiles):
            _measure(Path(scratch), profile, 2)  # what is read for the first time is not counted
            shim_ms, spent = _measure(Path(scratch), profile, times)
            cells = [f"{spent[name]:.0f}" for name in servers]
            name = f"units, {profile}" if profile else "plain"
            print(f"| {name} | {' | '.join(cells)} | {sum(spent.values()):.0f} | {shim_ms:.0f} |")


def _measure(scratch: Path, profile: str, times: int) -> tuple[float, dict[str, float]]:
    """Start so often; return the milliseconds of CPU that a start took of the shim, and of each server."""
    units = Units(scratch, profile, {})
    pids = _servers()
    before, own = {pid: _ticks(pid) for pid in pids}, sum(os.times()[2:4])
    for _ in range(times):
        attempt = AttemptId(ExecutionId("", f"job-{os.urandom(4).hex()}", 1), 0, 1)
        directory, job_directory = scratch / attempt.directory_name, scratch / attempt.execution.directory_name
        directory.mkdir()
        job_directory.mkdir()
        step = Step("", "true", StepKind.COMMAND, argv=("/bin/true",), timeout_s=60.0, grace_s=5.0)
        unit = units.name(attempt.execution, "true") if profile else ""
        attempt_directory.fill(directory, job_directory, attempt, step, Facts("thing"), unit=unit)
        os.waitpid(plain(directory), 0)
        result = attempt_directory.read_result(directory)
        if result is None or result.code != 0:
            sys.exit(f"a handler did not run: {result}\n{(directory / 'shim.log').read_text()}")
    spent = dict.fromkeys(pids.values(), 0.0)
    for pid, name in pids.items():
        spent[name] += (_ticks(pid) - before[pid]) * 1000 / TICKS / times
    return (sum(os.times()[2:4]) - own) * 1000 / times, spent


def _servers() -> dict[int, str]:
    """Return those who serve a start, by pid: systemd as the first process, the bus, polkit."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/comm"):
        pid, name = int(path.parent.name), path.read_text().strip()
        if name in SERVERS and (name != "systemd" or pid == 1):
            found[pid] = name
    return found


def _ticks(pid: int) -> int:
    """Return the CPU time of a process and of those that it has waited for, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


if __name__ == "__main__":
    main(int([*sys.argv, "20"][1]), tuple(sys.argv[2:]) or PROFILES)
