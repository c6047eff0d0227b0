"""The pictures of the page that docs/simulator.md shows: `uv run pytest tests/browser --screenshots docs/pictures`.

A fleet of 400 things in the middle of a rollout, drawn from a seed, so that the pictures look the same each time.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from tests.support.chromium import PHONE, WIDE, SimulatorBeside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Reader

PUMPS = 400
DOCUMENT = {"operation": "download-file", "params": {"url": "https://example.com/firmware-2.4.1.bin"}}


def roll_out(beside: SimulatorBeside, group_arn: str) -> None:
    """Nine minutes of a rollout in which 6 % fail; the last minute's things are under way, and others still wait."""
    beside.operate(
        "CreateJob",
        jobId="firmware-2-4-1",
        targets=[group_arn],
        document=json.dumps(DOCUMENT),
        description="Firmware 2.4.1 for all pumps",
        jobExecutionsRolloutConfig={"maximumPerMinute": 40},
    )
    chance = random.Random(20_261_201)  # noqa: S311 - a picture is no secret
    for _ in range(36):
        beside.pass_time(15)
        beside.run(work(beside, chance))


async def work(beside: SimulatorBeside, chance: random.Random) -> None:
    for execution in list(beside.sim.store.executions_of_job("firmware-2-4-1")):
        where = {"thingName": execution.thing_name}
        if execution.status == "QUEUED" and chance.random() < 0.6:
            beside.sim._service.answer_device("StartNextPendingJobExecution", where, {})
        elif execution.status == "IN_PROGRESS" and chance.random() < 0.4:
            status = "FAILED" if chance.random() < 0.06 else "SUCCEEDED"
            update = where | {"jobId": "firmware-2-4-1", "status": status}
            beside.sim._service.answer_device("UpdateJobExecution", update, {})


@pytest.mark.parametrize(
    ("name", "size", "is_dark"),
    [("page-light", WIDE, False), ("page-dark", WIDE, True), ("page-phone", PHONE, False)],
)
def test_the_page_in_the_middle_of_a_rollout(
    reader: Reader,
    beside: SimulatorBeside,
    fleet: Callable[[int], str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    *,
    name: str,
    size: tuple[int, int],
    is_dark: bool,
) -> None:
    group_arn = fleet(PUMPS)
    beside.operate("CreateJob", jobId="inventory", targets=[group_arn], document="{}")
    beside.pass_time(60)
    beside.operate("CancelJob", jobId="inventory")
    roll_out(beside, group_arn)
    for number in range(3):
        arn = f"arn:aws:iot:us-east-1:123456789012:thing/pump-{number:05}"
        beside.operate("CreateJob", jobId=f"rotate-certificate-{number}", targets=[arn], document="{}")
    reader.open("jobs/firmware-2-4-1", size, is_dark=is_dark)
    reader.wait(lambda: len(reader.rows("#list" if size == WIDE else "#detail")) >= 5)
    reader.wait(lambda: "SUCCEEDED" in reader.texts(".legend")[0])
    directory = request.config.getoption("--screenshots") or tmp_path
    path = directory / f"{name}.png"
    assert reader.driver.save_screenshot(str(path))
    assert path.read_bytes()[:4] == b"\x89PNG"
