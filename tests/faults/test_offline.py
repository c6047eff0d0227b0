"""Hours without a broker, and an upgrade of the agent while a handler runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, alive, stopped

HOURS_S = 5 * 3600
ROOT = Path(__file__).parents[2]


TIMERS = {"timeoutConfig": {"inProgressTimeoutInMinutes": 60}}
RETRIES = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}
ENDED_BY_THE_CLOUD: dict[str, Any] = {
    "timed-out": TIMERS,
    "cancelled": {},
    "deleted": {},
    "retried": {"jobExecutionsRetryConfig": RETRIES} | TIMERS,
}


async def let_hours_pass(rig: Rig) -> None:
    """Time out what has a timer, and end two others as an operator would."""
    await rig.sim.advance_clock(3700)
    rig.sim.operate("CancelJob", jobId="cancelled", force=True)
    rig.sim.operate("DeleteJob", jobId="deleted", force=True)
    await rig.sim.advance_clock(HOURS_S)


def publish_again(rig: Rig, messages: list[Any]) -> None:
    """Let notifications come that are older than all that happened since."""
    for name, message in messages:
        rig.sim.publish(f"$aws/things/{rig.thing}/jobs/{name}", json.dumps(message).encode())


async def test_n1_n6_hours_offline_in_which_jobs_are_ended_retried_and_reached_their_outcome(
    rig: Rig, connect: Any
) -> None:
    """N1, N6, O, T, P, L: what the cloud ended is stopped and not reported; what was reached is; what is new runs."""
    sim, ended = rig.sim, ENDED_BY_THE_CLOUD
    rig.device.sections["agent"]["max_concurrent"] = 5
    rig.device.sections["handler.gated"] = {"timeout_s": 86400}  # and so is the claim's own timer
    listener = await connect(sim, rig.thing, client_id="listener")
    await listener.subscribe("notify", "notify-next")
    agent = await rig.start()
    pids: dict[str, list[str]] = {}
    for job, members in ended.items():
        rig.create(job, "stubborn", **members)
        pids[job] = (await rig.hears(f"{job} begun"))[2:]
    rig.create("reached", "gated")
    await rig.hears("reached begun")
    stale = [listener.messages.get_nowait() for _ in range(listener.messages.qsize())]
    await listener.disconnect()
    await sim.stop_broker()
    await agent.says("connection lost")
    rig.open_gate("reached")
    await agent.says("succeeded", execution="reached")
    await let_hours_pass(rig)
    assert rig.status("timed-out") == "TIMED_OUT"
    await sim.start_broker()
    await rig.ends("reached", "SUCCEEDED")
    for job in ended:
        await agent.says("settled", execution=job)
        assert not alive(pids[job]), job
    await rig.hears("retried begun", times=2)
    publish_again(rig, stale)
    rig.create("after", "note")
    await rig.ends("after", "SUCCEEDED")
    for job in ended:
        assert not rig.outcomes(job), job
        rig.is_sound(job)
    rig.is_sound("retried", number=2)
    assert rig.status("retried") == "IN_PROGRESS"


@pytest.mark.parametrize("is_over", [True, False], ids=["over", "running"])
async def test_n1_n6_a_job_created_again_under_its_id_while_offline_gets_nothing_of_the_old_one(
    rig: Rig, is_over: bool
) -> None:
    """N1, N6, S, P: what runs for the deleted one is stopped, its outcome is told to nobody, and the new one runs."""
    agent = await rig.start()
    rig.create("job-1", "gated")
    _, _, pid = await rig.hears("job-1 begun")
    await rig.sim.stop_broker()
    await agent.says("connection lost")
    if is_over:
        rig.open_gate("job-1")
        await agent.says("succeeded", execution="job-1")
    rig.sim.operate("DeleteJob", jobId="job-1", force=True)
    await rig.sim.wait_until(lambda: "job-1" not in rig.sim.store.jobs, within_s=5)
    await rig.sim.advance_clock(1)  # within the same second, nothing would tell the new one from the old one
    rig.create("job-1", "note")
    await rig.sim.start_broker()
    await agent.says("settled", execution="job-1", status="REMOVED", within_s=60)
    assert not alive([pid])
    await rig.sim.wait_for_status(rig.thing, "job-1", "SUCCEEDED", within_s=10)
    assert rig.details("job-1")["operation"] == "note"
    assert len(rig.outcomes("job-1")) == 1


@pytest.fixture(scope="session")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What starts another installed copy of the agent: a wheel of this tree with the version 99.0."""
    tree, target = (tmp_path_factory.mktemp(name) for name in ("tree", "target"))
    for name in ("agent", "handlers", "simulator", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    project = tree / "pyproject.toml"
    text = project.read_text()
    assert 'version = "0' in text
    project.write_text(text.replace('version = "0', 'version = "99.0', 1))
    subprocess.run(["uv", "build", "-q", "--wheel", "--out-dir", tree / "dist", tree], check=True)
    [wheel] = (tree / "dist").glob("*.whl")
    subprocess.run(["uv", "pip", "install", "-q", "--no-deps", "--target", target, wheel], check=True)
    start = (
        f"import sys; sys.path.insert(0, {str(target)!r}); from iot_jobs_agent.__main__ import main; sys.exit(main())"
    )
    return (sys.executable, "-P", "-c", start)


async def test_c7_an_upgrade_and_a_downgrade_under_a_running_handler_leave_it_undisturbed(
    rig: Rig, next_version: tuple[str, ...]
) -> None:
    """C7, D, R, O: stopped with SIGTERM, started from another installed copy, and back; the schema is the same."""
    shown = subprocess.run([*next_version, "--version"], check=True, capture_output=True, text=True).stdout
    assert "99.0" in shown
    first = await rig.start()
    rig.create("job-1", "gated")
    _, _, pid = await rig.hears("job-1 begun")
    await stopped(first)
    second = await rig.start(command=next_version)
    await second.says("started", execution="job-1")
    assert alive([pid])
    rig.open_gate("job-1")
    await rig.ends("job-1", "SUCCEEDED")
    rig.create("job-2", "gated")
    await rig.hears("job-2 begun")
    await stopped(second)
    rig.open_gate("job-2")
    await rig.start()
    await rig.ends("job-2", "SUCCEEDED")
