"""D1, D3: a full disk and a disk that can only be read, at boot and under way, and mended later."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, stopped

# The agent, but for how often it looks at a disk that it cannot use: each second instead of each half minute.
EAGER = (
    "import sys, iot_jobs_agent.daemon as d; d.JOURNAL_PROBE_S = 1.0; "
    "from iot_jobs_agent.__main__ import main; sys.exit(main())"
)

pytestmark = pytest.mark.usefixtures("as_root")


@contextlib.contextmanager
def mounted(pi: Rig, *arguments: str) -> Iterator[Path]:
    """Put a file system of its own under the state directory."""
    pi.device.state.mkdir()
    subprocess.run(["mount", *arguments, pi.device.state], check=True)
    try:
        yield pi.device.state
    finally:
        subprocess.run(["umount", "--lazy", pi.device.state], check=True)


def fill(state: Path, name: str = "filler") -> Path:
    """Take all the space there is."""
    filler = state / name
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


async def test_d1_d3_a_disk_that_is_full_or_read_only_at_boot_degrades_the_agent_until_it_is_mended(
    rigs: Callable[..., Any], together: Callable[..., Any], watchdogs: Callable[..., Any]
) -> None:
    """D1, D3, R, L: ready and connected, nothing claimed; soon after the disk is well, all is done."""
    await together([full_at_boot(await rigs("full"), watchdogs()), read_only_at_boot(await rigs("ro"), watchdogs())])


async def full_at_boot(pi: Rig, watchdog: Any) -> None:
    with mounted(pi, "-t", "tmpfs", "-o", "mode=700,size=512k", "tmpfs") as state:
        filler = fill(state)
        await degraded_until(pi, watchdog, filler.unlink)


async def read_only_at_boot(pi: Rig, watchdog: Any) -> None:
    with mounted(pi, "-t", "tmpfs", "-o", "mode=700,size=8m", "tmpfs") as state:
        await stopped(await pi.start())
        subprocess.run(["mount", "-o", "remount,ro", state], check=True)
        await degraded_until(pi, watchdog, lambda: subprocess.run(["mount", "-o", "remount,rw", state], check=True))


async def degraded_until(pi: Rig, watchdog: Any, mend: Callable[[], Any]) -> None:
    pi.create("job-1", "note")
    agent = await pi.start(environment=watchdog.environment, command=(sys.executable, "-c", EAGER))
    await agent.says("degraded: the state directory cannot be used")
    assert pi.status("job-1") == "QUEUED"
    mend()
    await pi.ends("job-1", "SUCCEEDED")
    watchdog.was_fed(agent)
    await stopped(agent)


async def test_d1_a_disk_that_fills_up_while_a_job_runs_costs_no_truth(rig: Rig) -> None:
    """D1, D, O, S, R: the agent ends rather than lie; the next one, with room again, tells what is known."""
    with mounted(rig, "-t", "tmpfs", "-o", "mode=700,size=2m", "tmpfs") as state:
        agent = await rig.start()
        rig.create("job-1", "gated")
        await rig.hears("job-1 begun")
        filler = fill(state)
        rig.open_gate("job-1")
        ended = asyncio.create_task(agent.process.wait())
        told = asyncio.create_task(rig.sim.wait_until(lambda: is_over(rig), within_s=30))
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():  # what the attempt gave back was enough for that; it is taken too
            fill(state, "more")
            rig.create("job-2", "note")
        assert await agent.ended() == 1, agent.told
        told.cancel()
        (state / "more").unlink(missing_ok=True)
        filler.unlink()
        await rig.start()
        await rig.sim.wait_until(lambda: is_over(rig), within_s=30)
        rig.is_sound("job-1")
        if rig.status("job-1") == "FAILED":
            assert "interrupted" in rig.details("job-1")["result"]
        rig.create("job-3", "note")
        await rig.ends("job-3", "SUCCEEDED")


async def test_d1_field_c1_without_inodes_nothing_fails_and_all_is_done_once_there_are_some(rig: Rig) -> None:
    """D1, L, O: what is claimed waits, the next job is not claimed, and `status` says why."""
    with mounted(rig, "-t", "tmpfs", "-o", "mode=700,size=16m,nr_inodes=80", "tmpfs") as state:
        agent = await rig.start()
        rig.create("job-0", "note")
        await agent.says("settled", execution="job-0")
        taken = take_inodes(state / "jobs")
        for job in ("job-1", "job-2"):
            rig.create(job, "note")
        said = await agent.says("cannot start handlers, trying again", within_s=30)
        assert "No space left on device" in said["why"]
        assert (rig.status("job-1"), rig.status("job-2")) == ("IN_PROGRESS", "QUEUED")
        for path in taken:
            path.unlink()
        for job in ("job-1", "job-2"):
            await rig.ends(job, "SUCCEEDED")
        await stopped(agent)


def take_inodes(directory: Path) -> list[Path]:
    """Make files until no more can be made."""
    taken: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            path = directory.parent / f"taken-{len(taken)}"
            path.touch()
            taken.append(path)
    return taken


def is_over(pi: Rig) -> bool:
    return pi.status("job-1") in {"SUCCEEDED", "FAILED"}


async def test_d3_a_disk_that_becomes_read_only_under_a_job_makes_no_success_of_it(rig: Rig, tmp_path: Path) -> None:
    """D3, S, R: an ext4 that finds an error and goes read-only, as they do; after a repair the job is FAILED."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(rig, "-o", "loop,errors=remount-ro", str(image)) as state:
        agent = await rig.start()
        rig.create("job-1", "gated")
        await rig.hears("job-1 begun")
        source = subprocess.run(["findmnt", "-no", "SOURCE", state], check=True, capture_output=True, text=True).stdout
        Path(f"/sys/fs/ext4/{Path(source.strip()).name}/trigger_fs_error").write_text("a test")
        rig.open_gate("job-1")
        assert await agent.ended() == 1, agent.told
        assert rig.status("job-1") == "IN_PROGRESS"
    subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
    with mounted_again(rig, image):
        await rig.start()
        await rig.ends("job-1", "FAILED")
        rig.create("job-2", "note")
        await rig.ends("job-2", "SUCCEEDED")


@contextlib.contextmanager
def mounted_again(pi: Rig, image: Path) -> Iterator[None]:
    pi.device.state.rmdir()
    with mounted(pi, "-o", "loop", str(image)):
        yield
