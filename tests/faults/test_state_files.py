"""Whatever stands in the place of a file of the agent: READY within five seconds, and a job runs or waits."""

import asyncio
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rig import Rig, Watchdog, stopped

READY_S = 5.0
# As the unit's user sees it: whatever a file's mode says counts, and nothing can be given away.
LESS = "-dac_override,-dac_read_search,-fowner,-chown"
ORDINARY = ("setpriv", f"--bounding-set={LESS}", sys.executable, "-m", "iot_jobs_agent")
NAMES = (
    *(
        "agent-id",
        "journal-ids",
        "thing-name",
        "agent.lock",
        "journal.sqlite",
        "journal.sqlite-wal",
        "journal.sqlite-shm",
        "manifests.json",
        "verdict.json",
        "checks.json",
    ),
    *("status.json", "wake", "paused", "attempts", "jobs", "results", "trash"),
)
HUGE_BYTES = 4 << 30  # sparse
LARGE_BYTES = 1 << 16


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fill(path: Path, data: bytes) -> None:
    clear(path)
    path.write_bytes(data)


def shrink(path: Path) -> None:
    data = path.read_bytes() if path.is_file() and not path.is_fifo() else b""
    fill(path, data[: len(data) // 2])


def grow(path: Path) -> None:
    if not path.is_file():
        fill(path, b"")
    os.truncate(path, HUGE_BYTES)


def take_away(path: Path) -> None:
    if not os.path.lexists(path):
        path.touch()
    path.chmod(0)


def give_away(path: Path) -> None:
    if not os.path.lexists(path):
        path.touch()
    path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    os.chown(path, 65534, 65534)


def link_to(path: Path, target: str) -> None:
    clear(path)
    path.symlink_to(target)


def share(path: Path) -> None:
    clear(path)
    outside = path.parent.parent / "outside"
    outside.write_text("outside\n")
    path.hardlink_to(outside)


SHAPES: Mapping[str, Callable[[Path], Any]] = {
    "absent": clear,
    "mode 000": take_away,
    "a FIFO": lambda path: (clear(path), os.mkfifo(path)),
    "a directory": lambda path: (clear(path), path.mkdir()),
    "a link to nothing": lambda path: link_to(path, "/nonexistent/file"),
    "a link to a device": lambda path: link_to(path, "/dev/zero"),
    "a hard link": share,
    "another user's": give_away,
    "truncated": shrink,
    "huge": grow,
    "garbage": lambda path: fill(path, os.urandom(LARGE_BYTES)),
}


async def test_d5_field_c3_the_agent_is_ready_whatever_stands_in_the_place_of_its_files(
    rigs: Callable[..., Any],
    together: Callable[..., Any],
    watchdogs: Callable[..., Watchdog],
    count: Callable[[str], None],
) -> None:
    """R, D, O: each file and directory in each shape, as the unit's user, in the state that a job has left."""
    first: Rig = await rigs("first")
    agent = await first.start()
    first.create("before", "note")
    await agent.says("settled", execution="before")
    await stopped(agent)
    cases = [(name, shape) for name in NAMES for shape in SHAPES]
    lanes = 3
    wrong: dict[tuple[str, str], str] = {}
    lives_of = [
        lives(await rigs(f"lane-{lane}"), first.device.state, watchdogs(), cases[lane::lanes], wrong)
        for lane in range(lanes)
    ]
    await together(lives_of)
    assert not wrong, "\n".join(f"{case}: {why}" for case, why in wrong.items())
    count(f"C3: {len(cases)} shapes of files below the state directory")


async def lives(
    pi: Rig, template: Path, watchdog: Watchdog, cases: list[tuple[str, str]], wrong: dict[tuple[str, str], str]
) -> None:
    for number, (name, shape) in enumerate(cases):
        clear(pi.device.state)
        shutil.copytree(template, pi.device.state, symlinks=True, ignore=shutil.ignore_patterns("wake"))
        pi.device.state.chmod(0o700)
        SHAPES[shape](pi.device.state / name)
        if why := await live(pi, watchdog, f"after-{number}"):
            wrong[name, shape] = why


async def live(pi: Rig, watchdog: Watchdog, job: str) -> str:
    """Start an agent, give it a job, and return what is wrong, "" if nothing is."""
    watchdog.is_ready.clear()
    agent = await pi.start(is_connected=False, environment=watchdog.environment, command=ORDINARY)
    ready = asyncio.create_task(watchdog.is_ready.wait())
    ended = asyncio.create_task(agent.process.wait())
    await asyncio.wait({ready, ended}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        await agent.stop(signal.SIGKILL)
        return f"not ready, {agent.told}"
    pi.create(job, "note")
    try:
        await pi.sim.wait_until(lambda: is_settled(pi, agent, job), within_s=30)
    except TimeoutError:
        return f"{job} is {pi.status(job)}, {agent.told}"
    finally:
        status = await agent.stop()
        pi.sim.operate("DeleteJob", jobId=job, force=True)
    return f"ended with {status}, {agent.told}" if status else ""


def is_settled(pi: Rig, agent: Any, job: str) -> bool:
    """Return whether the job has ended well, or waits because the agent is degraded or paused, and says so."""
    said = {line["event"] for line in agent.log}
    waits = said & {"degraded: the state directory cannot be used", "paused"}
    return pi.status(job) == "SUCCEEDED" or (bool(waits) and pi.status(job) == "QUEUED")
