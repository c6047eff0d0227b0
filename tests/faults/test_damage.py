"""D4: journals that bit rot, truncation, zeroed pages, old copies and missing logs have been at."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import Rig
from tests.support.clients import boto3_client

JOURNAL, LOG = "journal.sqlite", "journal.sqlite-wal"
SAMPLE = 7
PAGE = 1024


async def test_d4_a_damaged_journal_is_set_aside_and_what_it_held_never_runs_again(
    rigs: Callable[..., Any],
    together: Callable[..., Any],
    chance: random.Random,
    is_full: bool,
    count: Callable[[str], None],
) -> None:
    """D4, R, O: the state of a device that lost power under a job; damaged, and given to an agent."""
    first: Rig = await rigs("first")
    old = await power_cut(first)
    state = first.device.state
    files = {name: (state / name).read_bytes() for name in (JOURNAL, LOG)}
    assert len(files[LOG]) > 5 * PAGE
    damages = {"log-gone": (LOG, None), "journal-gone": (JOURNAL, None), "old-copy": (JOURNAL, old)}
    for number in range(2000 if is_full else SAMPLE):
        name = chance.choice([JOURNAL, LOG])
        kind = chance.choice(["flip", "cut", "zero"])
        damages[f"{kind}-{number}"] = (name, damaged(files[name], kind, chance))
    await together([lives(await rigs(name), state, *damage) for name, damage in damages.items()])
    count(f"D4: {len(damages)} damaged journals")


async def power_cut(pi: Rig) -> bytes:
    """Let one job end and another run, then kill agent and shim; the journal as it was before the second."""
    agent = await pi.start()
    pi.create("job-0", "note")
    await agent.says("settled", execution="job-0")
    old = (pi.device.state / JOURNAL).read_bytes()
    pi.create("job-1", "stubborn")
    await pi.hears("job-1 begun")
    [lock] = pi.device.state.glob("attempts/*job-1*/lock")
    shim = int(lock.read_text().split()[0])
    await agent.stop(signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    return old


def damaged(good: bytes, kind: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(good))
    match kind:
        case "flip":
            return good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
        case "cut":
            return good[:at]
    page = at - at % PAGE
    return good[:page] + bytes(PAGE) + good[page + PAGE :]


async def lives(pi: Rig, state: Path, name: str, content: bytes | None) -> None:
    """See that an agent on the damaged state is ready and connected, and that the job ends as FAILED, not started."""
    shutil.copytree(state, pi.device.state, ignore=lambda directory, names: [n for n in names if is_fifo(directory, n)])
    (pi.device.state / "thing-name").write_text(f"{pi.thing}\n")  # each has a thing of its own
    if content is None:
        (pi.device.state / name).unlink()
    else:
        (pi.device.state / name).write_bytes(content)
    if name == JOURNAL and content is not None and pi.thing == "old-copy":
        (pi.device.state / LOG).unlink()
    pi.create("job-1", "note")
    data = boto3_client("iot-jobs-data", pi.sim.http_url)  # what the service knew when the power went
    details = {"agent": ".".join((state / name).read_text().strip() for name in ("agent-id", "journal-ids"))}
    claim = {"jobId": "job-1", "thingName": pi.thing, "status": "IN_PROGRESS", "statusDetails": details}
    await asyncio.to_thread(data.update_job_execution, **claim)
    data.close()
    agent = await pi.start()
    await pi.ends("job-1", "FAILED", starts=0)
    aside = list(pi.device.state.glob(f"{JOURNAL}.damaged-*"))
    assert bool(aside) == any(line["event"] == "journal damaged, set aside" for line in agent.log)
    pi.create("job-2", "note")
    await pi.ends("job-2", "SUCCEEDED")
    await agent.stop()


def is_fifo(directory: str, name: str) -> bool:
    return (Path(directory) / name).is_fifo()
