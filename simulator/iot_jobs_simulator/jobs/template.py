"""Job templates of the account (API reference, CreateJobTemplate and what belongs to it). Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from iot_jobs_simulator.jobs.managed_templates import ManagedTemplate, managed_template
from iot_jobs_simulator.names import ACCOUNT, REGION, ResourceName, resource_of
from iot_jobs_simulator.ordered import Key, Ordered
from iot_jobs_simulator.refusals import Code, Refused, invalid, not_found

MAX_TEMPLATES: Final = 100


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """What jobs can be made from. `members` are those of CreateJobTemplate that it was given, or took from a job."""

    template_id: str
    arn: str
    created_at: float
    members: Mapping[str, Any]


class JobTemplates:
    """All templates but AWS's own."""

    def __init__(self) -> None:
        self._by_id: dict[str, JobTemplate] = {}
        self._newest_first: Ordered[JobTemplate] = Ordered(lambda each: (-each.created_at, each.template_id))

    def check_new(self, template_id: str) -> None:
        """Refuse an id in use, and more templates than there may be."""
        if template_id in self._by_id:
            raise Refused(Code.CONFLICT, f"Job Template {template_id} already exists.", {"resourceId": None})
        if len(self._by_id) >= MAX_TEMPLATES:
            raise Refused(Code.LIMIT_EXCEEDED, f"There are {MAX_TEMPLATES} job templates, more are not allowed")

    def add(self, template: JobTemplate) -> None:
        """Keep a new template."""
        self._by_id[template.template_id] = template
        self._newest_first.add(template)

    def find(self, template_id: str) -> JobTemplate:
        """The template, or ResourceNotFound."""
        if template_id not in self._by_id:
            raise not_found(f"Job Template {template_id} cannot be found.")
        return self._by_id[template_id]

    def remove(self, template: JobTemplate) -> None:
        """Forget a template; jobs that were made from it stay as they are."""
        del self._by_id[template.template_id]
        self._newest_first.remove(template)

    def after(self, key: Key | None) -> Iterator[tuple[Key, JobTemplate]]:
        """The templates, newest first, from a place on."""
        return self._newest_first.after(key)

    def find_by_arn(self, arn: str) -> JobTemplate | ManagedTemplate:
        """The template that an ARN names; AWS's own have no account in theirs, and a version."""
        found = resource_named(arn, "jobtemplate")
        return self.find(found.name) if found.account else managed_template(*found.name.split(":", 1))


def resource_named(arn: str, kind: str) -> ResourceName:
    """What the ARN of a resource of this kind says; InvalidRequest or ResourceNotFound."""
    found = resource_of(arn)
    if found is None:
        raise invalid(f"{arn} is not an ARN of AWS IoT")
    if found.kind != kind:
        raise invalid(f"Resource type should be {kind} but found invalid resource type {found.kind}")
    if found.region != REGION or found.account not in ("", ACCOUNT):
        raise not_found(f"{arn} cannot be found.")
    return found
