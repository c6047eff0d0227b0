"""The policy allows what the agent does, and nothing else."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from iot_jobs_agent.aws.iot_policy import ANY_THING, policy, region_of
from iot_jobs_agent.aws.messages import Topics
from iot_jobs_agent.config.keys import ConfigFile
from iot_jobs_agent.config.values import Config

NOWHERE = dict.fromkeys(("certificate", "private_key", "root_ca"), "/nonexistent")
ENDPOINT = "a1b2-ats.iot.eu-west-1.amazonaws.com"
ARN = "arn:aws:iot:eu-west-1:123456789012:"
JOBS = "$aws/things/pi/jobs"


def configured(*namespaces: str, **aws: Any) -> Config:
    table = {"endpoint": ENDPOINT, "thing_name": "pi", **NOWHERE, **aws}
    return ConfigFile.model_validate({"aws": table, "namespaces": [{"id": each} for each in namespaces]}).values()


def allows(document: dict[str, Any], action: str, resource: str) -> bool:
    """Whether AWS IoT would allow it: `*` is the only wildcard here (and `?`, which no name of ours has)."""
    return any(
        fnmatchcase(ARN + resource, pattern.replace("[", "[[]"))
        for statement in document["Statement"]
        if statement["Action"] == action
        for pattern in statement["Resource"]
    )


@pytest.mark.parametrize("namespaces", [(), ("team-a",), tuple(f"team-{n}" for n in range(14))])
@pytest.mark.parametrize("is_default_served", [True, False])
def test_field_f8_everything_that_the_agent_does_is_allowed(
    namespaces: tuple[str, ...], *, is_default_served: bool
) -> None:
    if not namespaces and not is_default_served:
        return
    config = configured(*namespaces, default_namespace=is_default_served)
    document = policy(config, "123456789012", is_for_fleet=False)
    topics = Topics("pi")
    assert allows(document, "iot:Connect", "client/pi")
    filters = topics.answers(config.namespaces_served)
    filters += topics.notifications(config.namespaces_served, with_api_text_form=True)
    for topic_filter in filters:
        assert allows(document, "iot:Subscribe", f"topicfilter/{topic_filter}")
        assert allows(document, "iot:Receive", f"topic/{topic_filter.replace('+', 'x')}")
    for namespace in config.namespaces_served:
        for topic in (topics.describe(namespace, "$next"), topics.update(namespace, "j")):
            assert allows(document, "iot:Publish", f"topic/{topic}")
    assert allows(document, "iot:Publish", f"topic/{topics.get}") is is_default_served
    assert len(re.sub(r"\s", "", json.dumps(document))) <= 2048


def test_field_f8_nothing_else_is_allowed() -> None:
    document = policy(configured(), "123456789012", is_for_fleet=False)
    for action, resource in (
        ("iot:Connect", "client/other"),
        ("iot:Subscribe", f"topicfilter/{JOBS}/#"),
        ("iot:Subscribe", f"topicfilter/{JOBS}/notify-namespace-team-a"),
        ("iot:Subscribe", "topicfilter/$aws/things/other/jobs/notify"),
        ("iot:Receive", "topic/$aws/things/other/jobs/notify"),
        ("iot:Receive", f"topic/{JOBS}/start-next/accepted"),
        ("iot:Publish", f"topic/{JOBS}/start-next"),
        ("iot:Publish", f"topic/{JOBS}/notify"),
        ("iot:Publish", "topic/$aws/things/pi/shadow/update"),
        ("iotjobsdata:GetPendingJobExecutions", "topic/$aws/things/pi"),
    ):
        assert not allows(document, action, resource), (action, resource)
    named = policy(configured("team-a", default_namespace=False), "123456789012", is_for_fleet=False)
    assert allows(named, "iotjobsdata:GetPendingJobExecutions", "topic/$aws/things/pi")
    assert not allows(named, "iot:Publish", f"topic/{JOBS}/j/update")
    assert not allows(named, "iot:Publish", f"topic/{JOBS}/j/namespace-team-b/update")


def test_field_f8_a_fleet_shares_one_policy_by_a_variable() -> None:
    document = policy(configured(), "123456789012", is_for_fleet=True)
    assert '"pi' not in json.dumps(document)
    assert allows(document, "iot:Connect", f"client/{ANY_THING}")
    fixed = policy(configured(client_id="own"), "123456789012", is_for_fleet=True)
    assert allows(fixed, "iot:Connect", "client/own")


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [(ENDPOINT, "eu-west-1"), ("a.ats.iot.cn-north-1.amazonaws.com.cn", "cn-north-1"), ("localhost", "REGION")],
)
def test_field_f8_the_region_is_that_of_the_endpoint(endpoint: str, region: str) -> None:
    assert region_of(endpoint) == region
    partition = "aws-cn" if region == "cn-north-1" else "aws"
    [connect, *_] = policy(configured(endpoint=endpoint), "ACCOUNT", is_for_fleet=False)["Statement"]
    assert connect["Resource"] == [f"arn:{partition}:iot:{region}:ACCOUNT:client/pi"]
