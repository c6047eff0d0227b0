"""Our enums, limits and names, pinned to AWS's own models."""

import re
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from iot_jobs_agent.config.keys import AwsTable, NamespaceTable
from iot_jobs_agent.core import details
from iot_jobs_agent.core.claiming import STEP_TIMER_LONGEST_MINUTES, step_timeout_minutes
from iot_jobs_agent.core.job import ExecutionStatus, Step, StepKind
from iot_jobs_agent.documents.document import LARGEST_BYTES
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.placeholders import MAX_DOCUMENT_BYTES


@pytest.fixture(scope="module")
def data_plane() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("iot-jobs-data", "service-2"), "iot-jobs-data")


@pytest.fixture(scope="module")
def control_plane() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("iot", "service-2"), "iot")


def pattern(model: type[Any], key: str) -> str:
    return next(m.pattern for m in model.model_fields[key].metadata if hasattr(m, "pattern"))


def test_the_statuses_are_those_of_the_service(data_plane: ServiceModel) -> None:
    assert set(data_plane.shape_for("JobExecutionStatus").enum) == {status.value for status in ExecutionStatus}


def test_a_thing_name_is_one_for_both(control_plane: ServiceModel) -> None:
    shape = control_plane.shape_for("ThingName")
    ours = pattern(AwsTable, "thing_name")
    assert ours == f"^{shape.metadata['pattern'].removesuffix('+')}{{{shape.metadata['min']},{shape.metadata['max']}}}$"


def test_a_namespace_is_one_for_both(control_plane: ServiceModel) -> None:
    assert pattern(NamespaceTable, "id").startswith(
        f"^{control_plane.shape_for('NamespaceId').metadata['pattern'][:-1]}"
    )


def test_the_step_timer_stays_within_the_limit(control_plane: ServiceModel) -> None:
    longest = 7 * 24 * 60  # developer guide, page jobs-configurations-details: 1 to 10,080 minutes
    assert longest == STEP_TIMER_LONGEST_MINUTES
    assert step_timeout_minutes(Step("s", "h", StepKind.HANDLER, timeout_s=604800)) == longest
    assert step_timeout_minutes(Step("s", "h", StepKind.HANDLER, timeout_s=1, grace_s=0)) == 16
    assert step_timeout_minutes(Step("s", "h", StepKind.HANDLER), remaining_s=-5) == 16


def test_details_are_legal(data_plane: ServiceModel) -> None:
    told = details.StatusFacts(
        **dict.fromkeys(["agent", "operation", "step_name", "message", "result"], "x\ny\u200b"), progress=1
    )
    pairs = details.status_details(told)
    shape = data_plane.shape_for("DetailsKey")
    assert all(re.fullmatch(shape.metadata["pattern"], key) and len(key) <= shape.metadata["max"] for key in pairs)
    assert all(value.isprintable() for value in pairs.values())
    assert details.LIMIT == 1024


def test_a_document_may_be_longer_than_it_was_created_but_not_than_a_message(control_plane: ServiceModel) -> None:
    as_created = control_plane.shape_for("JobDocument").metadata["max"]
    assert as_created == MAX_DOCUMENT_BYTES < LARGEST_BYTES == Limits().max_payload_bytes
