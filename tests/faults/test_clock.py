"""T1: the wall clock is wrong by decades, starts in 1970, goes backwards. Only the monotonic one decides."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from rig import Rig, stopped

from iot_jobs_simulator.faults.faults import Reject


def shifted(faketime: str, pi: Rig, offset: str) -> dict[str, str]:
    """Return the environment of an agent whose wall clock is that of a file, read at each look."""
    set_clock(pi, offset)
    return {
        "LD_PRELOAD": faketime,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(pi.directory / "clock"),
        "FAKETIME_NO_CACHE": "1",
    }


def set_clock(pi: Rig, offset: str) -> None:
    """Set it at once: a half-written file would not be a time at all."""
    scratch = pi.directory / "clock.new"
    scratch.write_text(f"{offset}\n")
    scratch.replace(pi.directory / "clock")


# Where the clock starts, and where it jumps to during the job. Two hold each direction; the others are for --full.
JUMPS = [("+20y", "+0"), ("@1970-01-01 00:00:10", "+20y"), ("-20y", "+20y"), ("+0", "-20y"), ("+0", "+20y")]


async def test_t1_a_wall_clock_decades_off_or_going_backwards_during_a_job_changes_nothing(
    rigs: Callable[..., Any],
    together: Callable[..., Any],
    faketime: str,
    is_full: bool,
) -> None:
    """T1, O, T, L: without TLS, whose certificates depend on the clock by design."""
    jumps = JUMPS if is_full else JUMPS[:2]
    await together([off(await rigs(f"pi-{number}"), faketime, *jump) for number, jump in enumerate(jumps)])


async def off(pi: Rig, faketime: str, at_start: str, during_the_job: str) -> None:
    pi.use_plain()
    agent = await pi.start(environment=shifted(faketime, pi, at_start))
    year = agent.log[0]["timestamp"][:4]
    assert (at_start == "+0") == (abs(int(year) - dt.datetime.now(tz=dt.UTC).year) < 2), (year, at_start)
    pi.sim.faults.add(Reject(operation="DescribeJobExecution", code="InternalError", times=2))
    pi.create("job-1", "gated")
    await agent.says("describe failed", times=2)  # and is about to be tried again, when the clock jumps
    set_clock(pi, during_the_job)
    await pi.hears("job-1 begun")
    set_clock(pi, at_start)
    pi.open_gate("job-1")
    await pi.ends("job-1", "SUCCEEDED")
    await stopped(agent)


async def test_t1_a_device_that_boots_in_1970_connects_with_tls_once_its_clock_is_set(rig: Rig, faketime: str) -> None:
    """T1, L: until then no certificate is valid, and it says so."""
    rig.device.sections["aws"]["connect_timeout_s"] = 1
    rig.create("job-1", "note")
    agent = await rig.start(is_connected=False, environment=shifted(faketime, rig, "@1970-01-01 00:00:10"))
    said = await agent.says("cannot connect, trying again")
    assert "is not valid at the time of this device's clock" in said["hint"]
    assert said["timestamp"].startswith("1970")
    set_clock(rig, "+0")
    await rig.ends("job-1", "SUCCEEDED")
    await stopped(agent)
