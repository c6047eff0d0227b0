"""Reboot the device. The agent does it, once nothing else runs; afterwards this handler says whether it happened."""

from pathlib import Path

from pydantic import BaseModel

from iot_jobs_agent.handler import Handler, Job, Outcome

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
REBOOTED = "rebooted"  # a checkpoint


class Params(BaseModel, frozen=True, extra="forbid"):
    """It takes none."""


def reboot(_params: Params, job: Job) -> Outcome:
    """Ask for a reboot, or succeed if the handler is resumed in a later boot than the one in which it asked.

    A handler in a unit of its own does not see which boot it is in. The agent does, and gives the reasons `reboot` and
    `power-loss` only in another one.
    """
    boot_id = this_boot()
    before = job.last_checkpoint if job.is_resumed else None
    if job.is_resumed and (job.reason == "reboot" or before == REBOOTED):
        job.checkpoint(REBOOTED)  # should it be cut short now
        return Outcome.succeeded()
    if isinstance(before, dict) and "boot_id" in before:
        is_another = boot_id not in {"", before["boot_id"]} and before["boot_id"] != ""
        if is_another or job.reason == "power-loss":
            return Outcome.succeeded()
    job.checkpoint({"boot_id": boot_id})
    return Outcome.reboot("asked for by the job")


def this_boot() -> str:
    """Return the id of the boot, "" if it is hidden."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


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
