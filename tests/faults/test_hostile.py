"""H1 to H6: handlers that misbehave on purpose, under a real agent; what is said of them, and what they leave."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import AgentProcess
from rig import Rig, alive

# How each program ends: its script, the status, and a word of what the service is told.
HOSTILE: dict[str, tuple[str, str, str]] = {
    "h1-deaf": ("trap '' TERM; while :; do sleep 1; done", "FAILED", "deadline"),
    "h1-double-fork": ("setsid sh -c 'setsid sleep 1000 & exec sleep 1000' & exit 0", "SUCCEEDED", "left"),
    "h1-daemon-with-pipes": ("setsid sleep 1000 & echo $! >&2; exit 0", "SUCCEEDED", "left"),
    "h2-full-disk": (
        "ulimit -f 2048; exec dd if=/dev/zero of=$JOB_DIR/f bs=1M count=64 2>/dev/null",
        "FAILED",
        "SIGXFSZ",
    ),
    "h2-no-descriptors": ("ulimit -n 3; echo x > $JOB_DIR/f", "FAILED", "exited with code"),
    "h2-no-memory": ("ulimit -v 50000; exec python3 -c 'bytes(10**9)'", "FAILED", "exited with code"),
    "h3-long-line": ("head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero >&3", "SUCCEEDED", "code 0"),
    "h3-no-text": ("head -c 100000 /dev/urandom; printf '\\377\\376\\n' >&3", "SUCCEEDED", "code 0"),
    "h3-stderr": ("head -c 204800 /dev/zero >&2; echo done", "SUCCEEDED", "code 0"),
    "h4-closed": ("exec 3>&-; echo done", "SUCCEEDED", "code 0"),
    "h4-malformed": ("printf '{\\n[1]\\n{\"progress\": 1e999}\\n' >&3", "SUCCEEDED", "code 0"),
    "h4-deep": ("for i in $(seq 3000); do printf '['; done >&3; echo >&3", "SUCCEEDED", "code 0"),
    "h4-after-exit": ("(sleep 0.2; echo '{\"progress\": 99}' >&3) & exit 0", "SUCCEEDED", "code 0"),
    "h5-killed-child": ("sleep 1000 & kill -KILL $!; wait $!; exit 0", "SUCCEEDED", "code 0"),
    "h5-core": ("ulimit -c unlimited 2>/dev/null; kill -QUIT $$", "FAILED", "SIGQUIT"),
    "h5-stopped": ("kill -STOP $$", "FAILED", "deadline"),
}
HARMLESS = {"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
SIGNALS = [number for number in signal.Signals if number.name not in HARMLESS and number < signal.SIGRTMIN]


async def test_h1_h2_h3_h4_h5_hostile_handlers_end_as_what_they_are_and_leave_nothing(rig: Rig) -> None:
    """H1 to H5, P, B, S: four at a time; the next job runs, and the agent holds no descriptor of theirs."""
    for name, (script, _, _) in HOSTILE.items():
        rig.device.add_handler(name, f"#!/bin/sh\n{script}\n")
        rig.device.sections[f"handler.{name}"] = {"timeout_s": 2 if name in {"h1-deaf", "h5-stopped"} else 60}
        rig.device.sections[f"handler.{name}"]["grace_s"] = 0.3
    rig.device.sections["agent"]["max_concurrent"] = 4
    agent = await rig.start()
    descriptors = await descriptors_beside(rig, agent, "before")
    for name in HOSTILE:
        rig.create(name, name)
    for name, (_, status, word) in HOSTILE.items():
        await rig.ends(name, status, starts=0)
        details = rig.details(name)
        assert word in " ".join([details["result"], details.get("reason", "")]), (name, details)
        await agent.says("settled", execution=name)
    assert not living(rig)
    assert await descriptors_beside(rig, agent, "after") <= descriptors


async def descriptors_beside(rig: Rig, agent: AgentProcess, job: str) -> int:
    """Return how many descriptors the agent has open while one job runs: all that came before is removed by then."""
    rig.create(job, "gated")
    await rig.hears(f"{job} begun")
    found = open_descriptors(agent.process.pid)
    rig.open_gate(job)
    await agent.says("settled", execution=job)
    return found


async def test_h5_death_by_every_signal_is_told_as_such(
    rig: Rig,
    chance: random.Random,
    is_full: bool,
) -> None:
    """H5, S: the handler kills itself with a signal, one of eight that a sample has; with --full with each."""
    rig.device.add_handler("die", '#!/bin/sh\nkill -"${JOB_ID#signal-}" $$\nexit 0\n')
    rig.device.sections["agent"]["max_concurrent"] = 4
    await rig.start()
    numbers = SIGNALS if is_full else chance.sample(SIGNALS, 8)
    for number in numbers:
        rig.create(f"signal-{number}", "die")
    for number in numbers:
        await rig.ends(f"signal-{number}", "FAILED", starts=0)
        assert number.name in rig.details(f"signal-{number}")["result"], rig.details(f"signal-{number}")


async def test_h2_a_fork_bomb_under_a_limit_is_swept_whole(rig: Rig) -> None:
    """H2, P, B: children that multiply while they are being killed, up to 100 processes of their user."""
    bomb = "import os\\nwhile True:\\n try: os.fork()\\n except OSError: pass"
    user = "setpriv --reuid 54321 --regid 54321 --clear-groups prlimit --nproc=100"
    rig.device.add_handler("bomb", f"#!/bin/sh\nexec {user} python3 -c \"$(printf '{bomb}')\"\n")
    rig.device.sections["handler.bomb"] = {"timeout_s": 2, "grace_s": 0.3}
    rig.create("job-1", "bomb")
    await rig.start()
    await rig.ends("job-1", "FAILED", starts=0)
    assert "deadline" in rig.details("job-1")["result"]
    assert not of_user(54321)
    rig.create("job-2", "note")
    await rig.ends("job-2", "SUCCEEDED")


async def test_h3_two_hundred_megabytes_of_output_cost_neither_memory_nor_disk(
    rig: Rig, is_full: bool, count: Callable[[str], None]
) -> None:
    """H3, B: with --full it is 10 GB. Peak memory of shim and agent, and what is on the disk at the end."""
    megabytes = 10_000 if is_full else 200
    script = f"head -c {megabytes}M /dev/zero | tr '\\0' y\ngrep VmHWM /proc/$PPID/status > {rig.directory}/peak"
    rig.device.add_handler("loud", f"#!/bin/sh\n{script}\necho done\n")
    agent = await rig.start()
    rig.create("job-1", "loud")
    await rig.ends("job-1", "SUCCEEDED", starts=0, within_s=3600 if is_full else 60)
    assert rig.details("job-1")["stdout"].endswith("done")
    shim_kb = int((rig.directory / "peak").read_text().split()[1])
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    agent_kb = int(status.partition("VmHWM:")[2].split()[0])
    await agent.says("settled", execution="job-1")
    assert await agent.stop() == 0  # it removes what it no longer needs, under the eyes of who counts
    state_kb = sum(path.stat().st_size for path in rig.device.state.rglob("*") if path.is_file()) // 1024
    count(f"H3: {megabytes} MB of output: shim {shim_kb} KiB at most, agent {agent_kb} KiB, state {state_kb} KiB")
    assert shim_kb < 64 * 1024
    assert agent_kb < 128 * 1024
    assert state_kb < 1024


@pytest.mark.parametrize(
    ("content", "mode", "status", "word"),
    [
        (b"#!/bin/sh\n", 0o644, "REJECTED", "executable"),
        (b"#!/no/such/interpreter\n", 0o755, "REJECTED", "interpreter"),
        (b"\x7fELF" + bytes(60), 0o755, "FAILED", "neither a program for this machine"),
        (None, 0o755, "REJECTED", ""),
    ],
    ids=["not executable", "bad interpreter", "wrong architecture", "vanished"],
)
async def test_h6_what_cannot_be_started_is_no_success_and_named(
    rig: Rig, content: bytes | None, mode: int, status: str, word: str
) -> None:
    """H6, A, S. The one that vanishes is there when the agent looks for its handlers, and gone when the job comes."""
    rig.device.add_handler("odd", "#!/bin/sh\n")
    path = rig.directory / "handlers" / "odd"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    await rig.start()
    if content is None:
        path.unlink()
    rig.create("job-1", "odd")
    await rig.ends("job-1", status, starts=0)
    details = rig.details("job-1")
    assert word in " ".join([details.get("result", ""), details["reason"]]), details


async def test_h6_a_program_that_vanishes_between_check_and_start_cannot_start(rig: Rig) -> None:
    """H6, S: judged, claimed, and gone before the shim starts it: the fresh document is held back meanwhile."""
    agent = await rig.start()
    rig.sim.faults.add({"kind": "delay", "operation": "UpdateJobExecution", "delay_ms": 300, "times": 1})
    rig.create("job-1", "quiet")
    await rig.sim.wait_for_status(rig.thing, "job-1", "IN_PROGRESS", within_s=30)
    (rig.directory / "handlers" / "quiet").unlink()
    await agent.says("settled", execution="job-1")
    assert rig.status("job-1") in {"FAILED", "REJECTED"}
    assert not rig.ledger


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def living(rig: Rig) -> list[int]:
    """Tell what was started for an attempt of this device and is alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_ours = f"JOB_DIR={rig.device.state}".encode() in path.read_bytes()
        except OSError:
            continue
        found += [int(path.parent.name)] if is_ours else []
    return alive(found)


def of_user(uid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found += [int(path.name)] if path.stat().st_uid == uid else []
        except OSError:
            continue
    return alive(found)
