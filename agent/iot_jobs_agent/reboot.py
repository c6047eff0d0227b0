"""Tells which boot this is, and reboots. Source: random(4) for the boot id."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TEST_VARIABLE = "IOT_JOBS_AGENT_TEST_BOOT_ID"  # a test's boot id, in place of the kernel's
PATIENCE_S = 60.0


def boot_id() -> str:
    """Return the kernel's id of this boot, or "" if it is hidden (ProcSubset=pid); then we never notice a reboot."""
    try:
        return os.environ.get(TEST_VARIABLE) or BOOT_ID.read_text().strip()
    except OSError:
        return ""


async def reboot(command: Sequence[str]) -> str:
    """Run the reboot command; return why it failed, or "". Even if it succeeds, the reboot may not happen."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{command[0]} did not end within {PATIENCE_S:g} s"
    words = output.decode(errors="replace").split()
    ending = f"{command[0]} ended with {process.returncode}"
    return ": ".join(filter(None, [ending, " ".join(words)])) if process.returncode else ""
