"""The reasons of built-ins for refusing what no setting lists lead to settings with which they no longer refuse it."""

from pathlib import Path

import pytest
from tests.support.advice import Owner, configured

from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.core.job import Outcome
from iot_jobs_agent.core.outcome import outcome_of
from iot_jobs_agent.kit.trial import find_tried_handler, stage

MOST_REASONS = 3
URL = "https://127.0.0.1:9/a"
PARAMS = {
    "restart-services": {"services": ["oven", "door.timer"]},
    "start-services": {"services": ["oven"]},
    "stop-services": {"services": ["oven@1.service"]},
    "collect-logs": {"url": URL, "units": ["oven", "door"]},
    "write-file": {"path": "/srv/none/file", "content": "x"},
    "download-file": {"path": "/srv/none/file", "url": URL},
    "run-command": {"command": "true x"},
}


async def tried(name: str, owner: Owner) -> Outcome:
    """Run the handler as `iot-jobs-agent try` does, with the present configuration."""
    handler = await find_tried_handler(name, load_handlers(owner.write()))
    async with stage() as made:
        return outcome_of(await made.start(handler.step(PARAMS[name])).ended())


@pytest.mark.parametrize("name", PARAMS)
async def test_what_a_reason_says_to_add_to_a_setting_is_then_accepted(name: str, tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tables[f"handler.{name}"] = {"units": ["other"]} if name == "collect-logs" else {}
    for _ in range(MOST_REASONS):
        outcome = await tried(name, owner)
        assert outcome.status == "REJECTED"
        assert configured(outcome.reason, PARAMS[name], owner), outcome.reason
        outcome = await tried(name, owner)
        if outcome.status != "REJECTED":
            return
    pytest.fail(f"the reasons lead nowhere: {outcome.reason}")


async def test_logs_of_no_unit_at_all_are_refused_with_the_key(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.tables["handler.collect-logs"] = {"units": []}
    assert (await tried("collect-logs", owner)).reason == (
        "`units` in [handler.collect-logs] is empty, so that no unit's log may be read; add some there"
    )
