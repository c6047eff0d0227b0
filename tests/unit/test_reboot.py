"""What the command that reboots answers: real programs."""

import pytest

from iot_jobs_agent.reboot import reboot


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/bin/true"], ""),
        (["/bin/false"], "/bin/false ended with 1"),
        (["/bin/sh", "-c", "echo no >&2; echo permission; exit 2"], "/bin/sh ended with 2: no permission"),
        (["/no/such"], "/no/such cannot be started: No such file or directory"),
    ],
)
async def test_why_it_failed_is_one_line(command: list[str], why: str) -> None:
    assert await reboot(command) == why
