"""Starts, stops and restarts systemd units that the device's owner lists, and verifies the result."""

import re
import select
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_handlers import programs

SETTLE_S = 2.0
_TYPED = re.compile(r".\.(service|socket|timer|path|target|mount)$")
_CAUSES = (
    programs.Cause(
        re.compile(r"interactive authentication required|access denied|not authorized", re.IGNORECASE),
        HandlerError,
        "polkit does not allow it; let a polkit rule of yours name the unit, see docs/install.md",
    ),
    programs.Cause(
        re.compile(r"failed to connect to bus|not been booted with systemd", re.IGNORECASE),
        HandlerError,
        "systemd cannot be reached here",
    ),
)

Verb = Literal["start", "stop", "restart"]
Unit = Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*$")]  # systemd.unit(5)


class Params(BaseModel, frozen=True, extra="forbid"):
    """Which units."""

    services: tuple[Unit, ...] = Field(
        min_length=1, max_length=50, description="unit names; without a type, `.service` is meant"
    )


def change(verb: Verb, params: Params, job: Job) -> Outcome:
    """Run the verb on all units at once, and verify each. Settings: `units`, `settle_s`."""
    handler = f"{verb}-services"
    allowed = allowed_units(job, handler)
    settle_s = job.settings.get("settle_s", SETTLE_S)
    if not isinstance(settle_s, int | float) or not 0 <= settle_s <= 60:  # noqa: PLR2004 - more must be a mistake
        raise HandlerError(f"`settle_s` of [handler.{handler}] must be 0 to 60 seconds")
    units = [full(each) for each in dict.fromkeys(params.services)]
    for unit in units:
        if unit not in allowed:
            fix = "add it there, or leave it out"
            return Outcome.rejected(f"{unit} is not one of `units` in [handler.{handler}]; {fix}")
    job.progress(10, f"{verb} {', '.join(units)}")
    finished = programs.run(["systemctl", "--no-ask-password", "--no-pager", verb, "--", *units])
    programs.raise_for_failure(finished, _CAUSES)
    if verb != "stop":
        select.select(
            [], [], [], settle_s
        )  # a simple service counts as started before its program is (systemd.service(5))
    job.progress(90, "verifying")
    found = {unit: state(unit) for unit in units}
    wrong = [f"{unit} is {said}" for unit, said in found.items() if not fits(verb, unit, said)]
    if wrong:
        raise HandlerError(f"systemctl {verb} succeeded, but {', '.join(wrong)}")
    return Outcome.succeeded(**found)


def allowed_units(job: Job, handler: str) -> set[str]:
    """Return the units that the device's owner allows. HandlerError if the list is wrong."""
    units: Any = job.settings.get("units", [])
    if not isinstance(units, list) or not all(isinstance(each, str) for each in units):
        raise HandlerError(f"`units` of [handler.{handler}] must be a list of unit names")
    return {full(each) for each in units}


def full(unit: str) -> str:
    """Return the unit's name with its type, as systemctl would complete it."""
    return unit if _TYPED.search(unit) else f"{unit}.service"


def state(unit: str) -> str:
    """Return the unit's state in systemd's words. The exit code of `is-active` does not matter: 0 means active only."""
    finished = programs.run(["systemctl", "is-active", "--", unit], out=True)
    return finished.out.strip() or "unknown"


def fits(verb: Verb, unit: str, found: str) -> bool:
    """Return whether a unit is in the state it should be in. A oneshot that has succeeded counts as started."""
    if verb == "stop":
        return found in {"inactive", "failed"}
    if found in {"active", "reloading"}:
        return True
    return found == "inactive" and programs.run(["systemctl", "is-failed", "--", unit], out=True).code != 0


def handler_for(verb: Verb) -> Handler[Params]:
    """Return the handler for one verb."""
    return Handler(
        name=f"{verb}-services",
        params=Params,
        run=lambda params, job: change(verb, params, job),
        summary=f"{verb.capitalize()} systemd units.",
        timeout_s=600.0,
        on_interrupt="rerun",
    )


START = handler_for("start")
STOP = handler_for("stop")
RESTART = handler_for("restart")
