"""What is rehearsed: a job as `aws iot create-job --cli-input-json` takes it, for things of a fleet, from a time on.

The service's own checks judge the job. Its targets may name any region and account, and its document is not looked at.
"""

import json
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.jobs import schedule
from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.job import JobRequest
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import Documents, JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.refusals import Refused
from iot_jobs_simulator.rehearsal.fleet import Fleet

_TARGET: Final = re.compile(r"arn:[^:]+:iot:[^:]*:[^:]*:(thing|thinggroup)/(.+)")
_NO_DOCUMENT: Final = {"documentSource", "jobTemplateArn", "documentParameters", "presignedUrlConfig"}
_NOT_SENT: Final = {"generateCliSkeleton", "cliInputJson"}


class PlanError(Exception):
    """A job that cannot be rehearsed; the text names the member and the fix."""


class _AnyDocument(Documents):
    """Documents that nobody reads."""

    def deliver(self, document: str, presigned_url_config: Mapping[str, Any], execution: JobExecution) -> str:
        """Deliver nothing."""
        del document, presigned_url_config, execution
        return "{}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that the service accepts. `things` are the fleet's numbers of its targets, in the order of the rollout.

    Times are epoch seconds; what happens after `ends_at` is not looked at.
    """

    fleet: Fleet
    members: Json
    request: JobRequest
    things: Sequence[int]
    created_at: float
    ends_at: float

    @property
    def attempts(self) -> int:
        """How many attempts a device may have at most."""
        criteria = self.request.retry_config.get("criteriaList", ())
        retries: int = sum(criterion["numberOfRetries"] for criterion in criteria)
        return 1 + retries


def load_job(path: Path) -> Json:
    """Read a job from a file; PlanError, or OSError."""
    try:
        members = json.loads(path.read_text())
    except ValueError as error:
        raise PlanError(f"{path} is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise PlanError(f"{path} is not an object; give what `aws iot create-job --cli-input-json` takes")
    return members


def creation_time(members: Json, now: float) -> float:
    """When the job is created if nobody says: as late as its startTime allows, or else in this minute."""
    settings = ServiceSettings()
    try:
        start = schedule.start_time(members.get("schedulingConfig", {}))
    except (Refused, TypeError, AttributeError):
        start = None  # the service's checks say what is wrong with it
    return start - settings.schedule_lead_s if start is not None else now - now % 60


def plan_of(members: Json, fleet: Fleet, created_at: float, lasts_s: float, api: ServiceApi) -> Plan:
    """The job for this fleet; PlanError if a target is not in it, or if the service refuses the job."""
    if unknown := api.unknown_members("CreateJob", {n: v for n, v in members.items() if n not in _NOT_SENT}):
        raise PlanError(f"{unknown[0]} is not a member of CreateJob; correct its name, or leave it out")
    known = {name: value for name, value in members.items() if name not in _NO_DOCUMENT | _NOT_SENT}
    wanted = known | {"document": "{}", "targets": _own_targets(members.get("targets"))}
    things = _things(wanted["targets"], fleet)
    store = new_store()
    for group in fleet.groups:
        store.registry.groups.create(group, None, {}, created_at)
    for target in wanted["targets"]:
        if (name := target.rpartition("thing/")[2]) != target:
            store.registry.create(name, {})
    job_id = wanted.setdefault("jobId", "rehearsed")
    try:
        ControlPlane(store, api, {}).answer("CreateJob", wanted, created_at)
    except Refused as refusal:
        raise PlanError(f"the service would refuse the job: {refusal.message}") from None
    return Plan(fleet, wanted, store.jobs[job_id].request, things, created_at, created_at + lasts_s)


def new_store() -> JobStore:
    """A service that knows nothing yet, with the switches of a rehearsal: all as AWS most probably does it."""
    return JobStore(settings=ServiceSettings(namespace_topic_of_api_text=False), documents=_AnyDocument())


def fill_store(store: JobStore, plan: Plan) -> None:
    """Create the fleet's things and groups, all of them."""
    for name in plan.fleet.groups:
        group = store.registry.groups.create(name, None, {}, plan.created_at)
        for thing in plan.fleet.thing_names(name):
            store.registry.create(thing, {})
            store.registry.groups.add_thing(thing, group)


def _own_targets(targets: Any) -> list[str]:
    if not isinstance(targets, list) or not targets or not all(isinstance(each, str) for each in targets):
        raise PlanError("targets: give the ARNs of thing groups or things of the fleet file, in a list")
    own = []
    for target in targets:
        match = _TARGET.fullmatch(target)
        if match is None:
            raise PlanError(f"targets: {target} is not the ARN of a thing group or a thing")
        own.append(arn(f"{match[1]}/{match[2]}"))
    return own


def _things(targets: Sequence[str], fleet: Fleet) -> Sequence[int]:
    """The numbers of the targets' things, each once, in the order in which the service takes them."""
    found: dict[int, None] = {}
    for target in targets:
        kind, _, name = target.rpartition(":")[2].partition("/")
        group = name if kind == "thinggroup" else name.rpartition("-")[0]
        if group not in fleet.groups:
            raise PlanError(f"targets: the fleet has no {name}; its groups are {', '.join(fleet.groups)}")
        place = fleet.places[group]
        if kind == "thinggroup":
            found |= dict.fromkeys(place)
            continue
        names = fleet.thing_names(group)
        if name not in names:
            raise PlanError(f"targets: the fleet has no {name}; its things are {names[0]} to {names[-1]}")
        found[place[names.index(name)]] = None
    return array("q", found)
