"""What a job takes from the template that it is made from (developer guide, page job-template-manage-cli-create)."""

from typing import Final

from iot_jobs_simulator.jobs.managed_templates import ManagedTemplate
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.template import JobTemplate
from iot_jobs_simulator.jobs.views import Json

DOCUMENT_MEMBERS: Final = frozenset({"document", "documentSource"})


def named_template(store: JobStore, members: Json) -> JobTemplate | ManagedTemplate | None:
    """The template that a CreateJob names, if it names one."""
    return store.templates.find_by_arn(members["jobTemplateArn"]) if "jobTemplateArn" in members else None


def completed(members: Json, template: JobTemplate | ManagedTemplate | None) -> Json:
    """The members of a CreateJob with those of its template. A member that the request has wins whole.

    So does a document of either kind over one of either kind (docs/decisions.md, captures of 2026).
    """
    if template is None:
        return members
    if isinstance(template, ManagedTemplate):
        inherited: Json = {"description": template.description, "document": template.document}
    else:
        inherited = dict(template.members)
    if DOCUMENT_MEMBERS & members.keys():
        inherited = {name: value for name, value in inherited.items() if name not in DOCUMENT_MEMBERS}
    windows = inherited.pop("maintenanceWindows", None)
    if windows is not None:
        scheduling = {"maintenanceWindows": windows} | members.get("schedulingConfig", {})
        return inherited | members | {"schedulingConfig": scheduling}
    return inherited | members
