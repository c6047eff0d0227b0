import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_handlers import reboot
from iot_jobs_handlers.reboot import BOOT_ID, HANDLER

if TYPE_CHECKING:
    from conftest import Call, Story, Work


async def test_it_asks_for_a_reboot_and_notes_the_boot(work: "Work", story: "Story") -> None:
    ended = await work("reboot:HANDLER", {})
    assert ended.word == "reboot"
    kept = json.loads((story.job_directory() / "checkpoint.json").read_text())
    assert kept == {"boot_id": BOOT_ID.read_text().strip()}


def test_resumed_in_another_boot_it_has_succeeded(call: "Call", tmp_path: Path) -> None:
    (tmp_path / "job" / "checkpoint.json").write_text('{"boot_id": "another"}')
    assert call(HANDLER, {}, phase="resume", reason="killed").word == "succeeded"
    assert call(HANDLER, {}, phase="run").word == "reboot"


@pytest.mark.parametrize("kept", [None, {}, [], {"boot_id": BOOT_ID.read_text().strip()}])
def test_resumed_before_the_reboot_it_asks_again(call: "Call", tmp_path: Path, kept: object) -> None:
    (tmp_path / "job" / "checkpoint.json").write_text(json.dumps(kept))
    assert call(HANDLER, {}, phase="resume", reason="killed").word == "reboot"


def test_where_no_boot_id_can_be_seen_it_believes_the_agent(
    call: "Call", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a unit of its own, /proc has only processes (ProcSubset=pid)."""
    monkeypatch.setattr(reboot, "BOOT_ID", tmp_path / "hidden")
    checkpoint = tmp_path / "job" / "checkpoint.json"
    assert call(HANDLER, {}).word == "reboot"
    assert call(HANDLER, {}, phase="resume", reason="reboot").word == "succeeded"
    assert call(HANDLER, {}, phase="resume", reason="power-loss").word == "reboot"  # that came before it had asked
    checkpoint.write_text('{"boot_id": ""}')
    assert call(HANDLER, {}, phase="resume", reason="power-loss").word == "succeeded"
    for there in ("", "of an attempt that saw it"):
        checkpoint.write_text(json.dumps({"boot_id": there}))
        assert call(HANDLER, {}, phase="resume", reason="killed").word == "reboot"


def test_cut_short_after_the_reboot_it_does_not_ask_for_another(
    call: "Call", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reboot, "BOOT_ID", tmp_path / "hidden")
    (tmp_path / "job" / "checkpoint.json").write_text(json.dumps(reboot.REBOOTED))
    assert call(HANDLER, {}, phase="resume", reason="killed").word == "succeeded"


async def test_it_takes_no_params(work: "Work") -> None:
    assert (await work("reboot:HANDLER", {"delay": 1})).word == "rejected"


def test_it_declares_what_the_agent_needs_to_know() -> None:
    declared = HANDLER.manifest
    assert (declared.may_reboot, declared.on_interrupt, declared.exclusive) == (True, "resume", True)
