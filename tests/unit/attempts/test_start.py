"""What an author is told about a handler that cannot be started, or that crashes where the unit forbids something."""

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import launchers
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.job import Ending
from iot_jobs_agent.core.outcome import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story

FORBID = "import ctypes; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); "  # PR_SET_MDWE, as systemd does


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (None, 0, "No such file or directory"),
        (b"#!/bin/sh\n", 0o600, "not executable for this user"),
        (b"#!/no/such\n", 0o700, "the interpreter named in its first line does not exist: install /no/such, or"),
        (b"\x7fELF nonsense", 0o700, "neither a program for this machine nor a script"),
        (b"echo no first line\n", 0o700, "neither a program for this machine nor a script"),
        (b"echo hi\n", 0o700, "if it is a shell script, begin it with the line #!/bin/sh"),
        (
            b"#!/bin/sh\r\necho hi\r\n",
            0o700,
            "its lines end with CR LF as on Windows; save it with LF, or run `sed -i 's/",
        ),
        (b"\xef\xbb\xbf#!/bin/sh\n", 0o700, "it has a byte order mark in front of #!; save it as UTF-8 without one"),
    ],
)
async def test_what_cannot_be_started_is_told_in_words(
    story: "Story", tmp_path: Path, content: bytes | None, mode: int, reason: str
) -> None:
    if content is not None:
        (tmp_path / "handler").write_bytes(content)
        (tmp_path / "handler").chmod(mode)
    result = await story.run("", argv=(str(tmp_path / "handler"),))
    assert result.ending is Ending.CANNOT_START
    assert reason in result.reason


@pytest.mark.skipif(ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0, reason="needs PR_GET_MDWE of Linux 6.3 (prctl(2))")
@pytest.mark.parametrize("crash", ["kill -TRAP $$", "exit 133"])
async def test_field_g5_a_crash_under_a_unit_that_forbids_new_code_is_explained(
    new_story: "Callable[..., Story]", monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    monkeypatch.setattr(launchers, "BOOT", FORBID + launchers.BOOT)
    result = await new_story(plain).run(f"ulimit -c 0; {crash}")
    assert "if so, set MemoryDenyWriteExecute=no with `systemctl edit`" in outcome_of(result).reason


async def test_field_g5_a_crash_elsewhere_is_not_blamed_on_the_unit(story: "Story") -> None:
    assert (await story.run("ulimit -c 0; kill -TRAP $$")).reason == ""
