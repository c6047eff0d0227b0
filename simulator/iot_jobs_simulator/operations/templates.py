"""Operations on job templates, the account's and AWS's own."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from iot_jobs_simulator.jobs import job_control, managed_templates, schedule, views
from iot_jobs_simulator.jobs.managed_templates import ManagedTemplate
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.template import JobTemplate, resource_named
from iot_jobs_simulator.jobs.views import Json, template_description, template_summary
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.operations.inheritance import DOCUMENT_MEMBERS
from iot_jobs_simulator.operations.jobs import job_request
from iot_jobs_simulator.operations.operation import Operation, listed, operation
from iot_jobs_simulator.ordered import Key
from iot_jobs_simulator.refusals import not_found

_CONFIGS: Final = (
    "presignedUrlConfig",
    "jobExecutionsRolloutConfig",
    "abortConfig",
    "timeoutConfig",
    "jobExecutionsRetryConfig",
)
_KEPT: Final = frozenset({"description", "maintenanceWindows", "destinationPackageVersions", *_CONFIGS}) | (
    DOCUMENT_MEMBERS
)


def _create(store: JobStore, members: Json, now: float) -> Json:
    """A document in the request replaces that of the job which the template is made from, the rest stays."""
    template_id = members["jobTemplateId"]
    taken = _taken_from_job(store, members["jobArn"]) if "jobArn" in members else {}
    if DOCUMENT_MEMBERS & members.keys():
        taken = {name: value for name, value in taken.items() if name not in DOCUMENT_MEMBERS}
    kept = taken | {name: value for name, value in members.items() if name in _KEPT}
    # What no job could have, no template may have.
    job_control.check_request(store, job_request(store, kept | {"jobId": template_id, "targets": []}, None), now)
    schedule.check_windows(kept.get("maintenanceWindows", ()))
    store.templates.check_new(template_id)
    template = JobTemplate(template_id, arn(f"jobtemplate/{template_id}"), now, kept)
    store.tags.begin(template.arn, members.get("tags", ()))
    store.templates.add(template)
    return {"jobTemplateArn": template.arn, "jobTemplateId": template_id}


def _describe(store: JobStore, members: Json, _now: float) -> Json:
    return template_description(store.templates.find(members["jobTemplateId"]))


def _delete(store: JobStore, members: Json, _now: float) -> Json:
    template = store.templates.find(members["jobTemplateId"])
    store.templates.remove(template)
    store.tags.end(template.arn)
    return {}


def _list(store: JobStore, members: Json, _now: float) -> Json:
    return listed(members, "jobTemplates", store.templates.after, template_summary, (float, str))


def _describe_managed(_store: JobStore, members: Json, _now: float) -> Json:
    found = managed_templates.managed_template(members["templateName"], members.get("templateVersion"))
    parameters = [
        {
            "key": parameter.key,
            "description": parameter.description,
            "regex": parameter.regex,
            "example": parameter.example,
            "optional": parameter.is_optional,
        }
        for parameter in found.parameters
    ]
    return _managed_summary(found) | {"documentParameters": parameters, "document": found.document}


def _list_managed(_store: JobStore, members: Json, _now: float) -> Json:
    """By name. A name that no managed template has is not found, which only this can mean in AWS's list of errors."""
    wanted = members.get("templateName")
    if wanted is not None and wanted not in managed_templates.MANAGED_TEMPLATES:
        raise not_found(f"Job Template {wanted} cannot be found.")

    def after(key: Key | None) -> Iterator[tuple[Key, ManagedTemplate]]:
        for name, template in managed_templates.MANAGED_TEMPLATES.items():
            if wanted in (None, name) and (key is None or (name,) > key):
                yield (name,), template

    return listed(members, "managedJobTemplates", after, _managed_summary)


def _managed_summary(template: ManagedTemplate) -> Json:
    return {
        "templateArn": template.arn,
        "templateName": template.name,
        "description": template.description,
        "environments": [managed_templates.ENVIRONMENT],
        "templateVersion": managed_templates.VERSION,
    }


def _taken_from_job(store: JobStore, job_arn: str) -> dict[str, Any]:
    """Document and configurations of a job; not its description, tags and package versions (captures of 2026)."""
    job_id = resource_named(job_arn, "job").name
    if job_id not in store.jobs:
        raise not_found(f"Job {job_id} cannot be found.")
    job = store.jobs[job_id]
    source = job.request.document_source
    document = {"documentSource": source} if source else {"document": job.request.document}
    shown = views.job_description(job)
    return document | {name: shown[name] for name in _CONFIGS if shown.get(name)}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateJobTemplate": operation(
        "jobTemplateId jobArn documentSource document description presignedUrlConfig jobExecutionsRolloutConfig"
        " abortConfig timeoutConfig tags jobExecutionsRetryConfig maintenanceWindows destinationPackageVersions",
        _create,
    ),
    "DescribeJobTemplate": operation("jobTemplateId", _describe),
    "DeleteJobTemplate": operation("jobTemplateId", _delete),
    "ListJobTemplates": operation("maxResults nextToken", _list),
    "DescribeManagedJobTemplate": operation("templateName templateVersion", _describe_managed),
    "ListManagedJobTemplates": operation("templateName maxResults nextToken", _list_managed),
}
