"""start-, stop- and restart-services.

No systemd runs where these tests do. What systemctl would say is played by a program of that name, first on PATH: it
keeps the units' states in files, and shows what was asked of it. The real systemctl is asked once, and refuses.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from iot_jobs_handlers.services import RESTART, START, STOP, Params

if TYPE_CHECKING:
    from conftest import Call, Work

UNITS = {"units": ["oven", "door.service", "tick.timer"], "settle_s": 0}
# Each unit's file holds its state and what it becomes by start (or restart) and stop: `inactive active inactive`.
FAKE = """#!/bin/sh
echo "$*" >> asked
while [ $# -gt 0 ]; do case $1 in --no-*) shift;; *) break;; esac; done
verb=$1; shift; [ "$1" = -- ] || exit 64; shift
code=0; [ $verb = is-active ] && code=3; [ $verb = is-failed ] && code=1
for unit in "$@"; do
    if [ ! -f "$unit" ]; then
        case $verb in
            is-active) echo inactive ;;
            is-failed) : ;;
            *) echo "Failed to $verb $unit: Unit $unit not found." >&2; exit 5 ;;
        esac
        continue
    fi
    read -r state started stopped < "$unit"
    case $verb in
        is-active) echo "$state"; [ "$state" = active ] && code=0 ;;
        is-failed) [ "$state" = failed ] && code=0 ;;
        stop) echo "$stopped $started $stopped" > "$unit" ;;
        *) echo "$started $started $stopped" > "$unit" ;;
    esac
done
exit $code
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a program in the place of systemctl; units are named with their states."""
    directory = tmp_path / "bin"
    directory.mkdir()

    def made(text: str = FAKE, **units: str) -> Path:
        program = directory / "systemctl"
        program.write_text(text.replace("#!/bin/sh\n", f"#!/bin/sh\ncd {tmp_path}\n"))
        program.chmod(0o755)
        for unit, states in units.items():
            (tmp_path / unit.replace("_", ".")).write_text(f"{states}\n")
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        return tmp_path / "asked"

    return made


async def test_a_service_is_started_as_the_agent_would_start_it(fake: Callable[..., Path], work: "Work") -> None:
    asked = fake(oven_service="inactive active inactive")
    ended = await work("services:START", {"services": ["oven"]}, UNITS)
    assert (ended.word, ended.details) == ("succeeded", {"oven.service": "active"})
    assert asked.read_text().splitlines() == [
        "--no-ask-password --no-pager start -- oven.service",
        "is-active -- oven.service",
    ]


def test_several_go_in_one_transaction(fake: Callable[..., Path], call: "Call") -> None:
    asked = fake(oven_service="active active inactive", tick_timer="active active inactive")
    ended = call(RESTART, {"services": ["oven", "oven", "tick.timer"]}, UNITS)
    assert ended.details == {"oven.service": "active", "tick.timer": "active"}
    assert asked.read_text().splitlines()[0].endswith(" restart -- oven.service tick.timer")


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("active", "succeeded"),
        ("reloading", "succeeded"),
        ("inactive", "succeeded"),
        ("failed", "failed"),
        ("activating", "failed"),
        ("deactivating", "failed"),
    ],
)
def test_what_a_start_led_to_is_looked_at(fake: Callable[..., Path], call: "Call", state: str, word: str) -> None:
    fake(oven_service=f"inactive {state} inactive", door_service="inactive active inactive")
    ended = call(START, {"services": ["oven", "door"]}, UNITS)
    assert ended.word == word
    assert ended.reason == ("" if word == "succeeded" else f"systemctl start succeeded, but oven.service is {state}")


@pytest.mark.parametrize(
    ("state", "word"),
    [("inactive", "succeeded"), ("failed", "succeeded"), ("active", "failed"), ("deactivating", "failed")],
)
def test_what_a_stop_led_to_is_looked_at(fake: Callable[..., Path], call: "Call", state: str, word: str) -> None:
    fake(oven_service=f"active active {state}")
    assert call(STOP, {"services": ["oven"]}, UNITS).word == word


def test_a_unit_that_is_not_there_fails_in_systemds_words(fake: Callable[..., Path], call: "Call") -> None:
    fake()
    ended = call(START, {"services": ["door"]}, UNITS)
    assert ended.reason == ("systemctl exited with code 5: Failed to start door.service: Unit door.service not found.")


@pytest.mark.parametrize("said", ["Interactive authentication required.", "Access denied"])
def test_a_refusal_of_polkit_names_the_rule(fake: Callable[..., Path], call: "Call", said: str) -> None:
    fake(f"#!/bin/sh\necho 'Failed to start oven.service: {said}' >&2; exit 4\n")
    assert "polkit rule of yours" in call(START, {"services": ["oven"]}, UNITS).reason


@pytest.mark.parametrize("unit", ["ssh", "ssh.service", "oven.timer", "door.service.service"])
@pytest.mark.parametrize("handler", [START, STOP, RESTART], ids=lambda each: str(each.name))
def test_a_unit_that_is_not_listed_is_rejected(
    fake: Callable[..., Path], call: "Call", handler: object, unit: str
) -> None:
    asked = fake()
    assert call(handler, {"services": ["oven", unit]}, UNITS).word == "rejected"
    assert call(handler, {"services": ["oven"]}).word == "rejected"
    assert not asked.exists()


@pytest.mark.parametrize("unit", ["", "-oven", "--force", "o*", "[a-z]", "a b", "a/b", "a;b", "a\n", "ö", ".hidden"])
def test_a_text_that_cannot_name_a_unit_is_not_accepted(unit: str) -> None:
    with pytest.raises(ValidationError):
        Params.model_validate({"services": [unit]})


@pytest.mark.parametrize("settings", [{"units": "oven"}, {"units": [1]}, {"settle_s": -1}, {"settle_s": "1"}])
def test_wrong_settings_are_the_devices_fault(call: "Call", settings: dict[str, object]) -> None:
    ended = call(START, {"services": ["oven"]}, UNITS | settings)
    assert (ended.word, "[handler.start-services]" in ended.reason) == ("failed", True)


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is not here")
@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs here, and would be asked")
def test_without_systemd_the_real_systemctl_refuses_and_that_is_told(call: "Call") -> None:
    ended = call(START, {"services": ["oven"]}, UNITS)
    assert (ended.word, ended.reason) == ("failed", "systemd cannot be reached here")


def test_without_systemctl_that_is_told(call: "Call", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = call(START, {"services": ["oven"]}, UNITS)
    assert ended.reason == "systemctl could not be started: No such file or directory"
