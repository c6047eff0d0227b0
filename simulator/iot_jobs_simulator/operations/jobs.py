"""Operations on jobs."""

from collections.abc import Mapping
from typing import Final

from iot_jobs_simulator import placeholders
from iot_jobs_simulator.jobs import job_control, packages, parameters, schedule, views
from iot_jobs_simulator.jobs.job import Job, JobRequest, TargetSelection
from iot_jobs_simulator.jobs.managed_templates import ManagedTemplate
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.template import JobTemplate
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.operations import inheritance
from iot_jobs_simulator.operations.operation import Operation, listed, operation
from iot_jobs_simulator.refusals import invalid

# Members of UpdateJob by the field of JobRequest that they replace.
_CHANGEABLE: Final = {
    "description": "description",
    "presignedUrlConfig": "presigned_url_config",
    "timeoutConfig": "timeout_config",
    "jobExecutionsRetryConfig": "retry_config",
    "jobExecutionsRolloutConfig": "rollout_config",
    "abortConfig": "abort_config",
}


def _create_job(store: JobStore, members: Json, now: float) -> Json:
    template = inheritance.named_template(store, members)
    together = inheritance.completed(members, template)
    request = job_request(store, together, template)
    placeholders.check_role(request.document, request.presigned_url_config)
    return views.job_receipt(job_control.create(store, request, now))


def _describe_job(store: JobStore, members: Json, now: float) -> Json:
    job = store.find_job(members["jobId"])
    source = {"documentSource": job.request.document_source} if job.request.document_source else {}
    description = views.job_description(job)
    if job.is_active and (rollouts := schedule.upcoming(job.request.scheduling_config, now)):
        description["scheduledJobRollouts"] = rollouts
    return {**source, "job": description}


def _get_job_document(store: JobStore, members: Json, _now: float) -> Json:
    """Parameters of a managed template as their values, unless it is asked for what was there before."""
    request = store.find_job(members["jobId"]).request
    is_before = members.get("beforeSubstitution", False)
    return {"document": request.written_document if is_before else request.document}


def _update_job(store: JobStore, members: Json, now: float) -> Json:
    job = store.find_job(members["jobId"], namespace=members.get("namespaceId"))
    placeholders.check_role(job.request.document, members.get("presignedUrlConfig", job.request.presigned_url_config))
    changes = {field: members[name] for name, field in _CHANGEABLE.items() if name in members}
    job_control.update(store, members["jobId"], changes, now, namespace=members.get("namespaceId"))
    return {}


def _cancel_job(store: JobStore, members: Json, now: float) -> Json:
    job = job_control.cancel(
        store,
        members["jobId"],
        now,
        force=members.get("force", False),
        reason_code=members.get("reasonCode"),
        comment=members.get("comment"),
    )
    return views.job_receipt(job)


def _delete_job(store: JobStore, members: Json, now: float) -> Json:
    force = members.get("force", False)
    job_control.delete(store, members["jobId"], now, force=force, namespace=members.get("namespaceId"))
    return {}


def _associate_targets(store: JobStore, members: Json, now: float) -> Json:
    job = job_control.associate(
        store,
        members["jobId"],
        members["targets"],
        now,
        comment=members.get("comment"),
        namespace=members.get("namespaceId"),
    )
    return views.job_receipt(job)


def _list_jobs(store: JobStore, members: Json, _now: float) -> Json:
    """Without a namespace, jobs of the default one. Both group filters together must mean the same group."""
    groups = store.registry.groups
    wanted = [
        *([groups.find(members["thingGroupName"]).group_id] if "thingGroupName" in members else []),
        *([groups.find_by_id(members["thingGroupId"]).group_id] if "thingGroupId" in members else []),
    ]
    group_id = wanted[0] if wanted else None

    def view(job: Job) -> Json:
        return views.job_summary(job, group_id)

    if len(set(wanted)) > 1:
        return listed(members, "jobs", lambda _key: iter(()), view, (float, float, str))
    return listed(
        members,
        "jobs",
        lambda key: store.index.after(
            key,
            namespace=members.get("namespaceId", ""),
            status=members.get("status"),
            group_id=group_id,
            target_selection=members.get("targetSelection"),
        ),
        view,
        (float, float, str),
    )


def job_request(store: JobStore, members: Json, template: JobTemplate | ManagedTemplate | None) -> JobRequest:
    """The request of CreateJob, completed by its template; CreateJobTemplate has itself checked in this form too."""
    job_control.check_timeout(members.get("timeoutConfig"))
    managed = template if isinstance(template, ManagedTemplate) else None
    given = members.get("documentParameters", {})
    parameters.check_parameters(managed, given)
    written = _document(store, members)
    drop = store.settings.parameters_not_given_are_dropped
    document = parameters.with_parameters(written, managed, given, drop=drop)
    packages.check_package_placeholders(document, members.get("destinationPackageVersions", ()))
    placeholders.check(document)
    return JobRequest(
        job_id=members["jobId"],
        targets=tuple(members["targets"]),
        document=document,
        written_document=written,
        document_source=members.get("documentSource", ""),
        namespace=members.get("namespaceId", ""),
        description=members.get("description"),
        presigned_url_config=members.get("presignedUrlConfig", {}),
        timeout_config=members.get("timeoutConfig", {}),
        retry_config=members.get("jobExecutionsRetryConfig", {}),
        rollout_config=members.get("jobExecutionsRolloutConfig", {}),
        abort_config=members.get("abortConfig", {}),
        scheduling_config=members.get("schedulingConfig", {}),
        tags=tuple(members.get("tags", ())),
        target_selection=TargetSelection(members.get("targetSelection", TargetSelection.SNAPSHOT)),
        template_arn=members.get("jobTemplateArn"),
        document_parameters=given,
        destination_package_versions=tuple(members.get("destinationPackageVersions", ())),
    )


def _document(store: JobStore, members: Json) -> str:
    """The text of the document; one in S3 is read now and never again (developer guide, page manage-job-cli).

    The quota counts it as it is created, placeholders and all, and never as it is delivered.
    """
    if not inheritance.DOCUMENT_MEMBERS & members.keys():
        raise invalid("Neither job document nor job document source is specified.")
    if members.keys() >= inheritance.DOCUMENT_MEMBERS:
        raise invalid("A job needs a document or a documentSource, and not both")
    if "document" in members:
        document = str(members["document"])
        if (size_bytes := len(document.encode(errors="surrogatepass"))) > placeholders.MAX_DOCUMENT_BYTES:
            raise invalid(
                f"The job document has {size_bytes} bytes, at most {placeholders.MAX_DOCUMENT_BYTES} are allowed"
            )
        return document
    return store.documents.read_source(members["documentSource"])


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateJob": operation(
        "jobId targets document documentSource description targetSelection presignedUrlConfig timeoutConfig tags"
        " namespaceId jobExecutionsRetryConfig jobExecutionsRolloutConfig abortConfig schedulingConfig jobTemplateArn"
        " documentParameters destinationPackageVersions",
        _create_job,
    ),
    "DescribeJob": operation("jobId beforeSubstitution", _describe_job),
    "GetJobDocument": operation("jobId beforeSubstitution", _get_job_document),
    "UpdateJob": operation(
        "jobId namespaceId description presignedUrlConfig timeoutConfig jobExecutionsRetryConfig"
        " jobExecutionsRolloutConfig abortConfig",
        _update_job,
    ),
    "CancelJob": operation("jobId reasonCode comment force", _cancel_job),
    "DeleteJob": operation("jobId force namespaceId", _delete_job),
    "AssociateTargetsWithJob": operation("jobId targets comment namespaceId", _associate_targets),
    "ListJobs": operation(
        "status targetSelection maxResults nextToken thingGroupName thingGroupId namespaceId", _list_jobs
    ),
}
