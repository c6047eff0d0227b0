"""Reboot the device. The agent does it, once nothing else runs; afterwards this handler says whether it happened."""

from pathlib import Path

from pydantic import BaseModel

from iot_jobs_agent.handler import Handler, Job, Outcome

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Params(BaseModel, frozen=True, extra="forbid"):
    """It takes none."""


def reboot(_params: Params, job: Job) -> Outcome:
    """Ask for a reboot, or succeed if the handler is resumed in a later boot than the one in which it asked."""
    boot_id = BOOT_ID.read_text().strip()
    before = job.last_checkpoint if job.is_resumed else None
    if isinstance(before, dict) and before.get("boot_id", boot_id) != boot_id:
        return Outcome.succeeded()
    job.checkpoint({"boot_id": boot_id})
    return Outcome.reboot("asked for by the job")


HANDLER = Handler(
    name="reboot",
    params=Params,
    run=reboot,
    summary=__doc__.splitlines()[0],
    timeout_s=600.0,
    on_interrupt="resume",
    exclusive=True,
    may_reboot=True,
)
