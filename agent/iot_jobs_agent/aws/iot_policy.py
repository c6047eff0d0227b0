"""The least AWS IoT Core policy with which the agent works, worked out from the topics that it uses. Pure.

Sources: AWS IoT developer guide, page iot-policies, and pages "Connect policy examples", "Publish/Subscribe policy
examples". In a policy, `*` stands for any characters, slashes included; `+` in a topic filter is an ordinary character.
"""

import json
import re
from typing import Any

from iot_jobs_agent.aws.messages import Topics
from iot_jobs_agent.config.values import Config

LARGEST_CHARACTERS = 2048  # AWS IoT Core quotas, "Policy document size", without white space
ANY_THING = "${iot:Connection.Thing.ThingName}"  # a policy variable, for MQTT and certificates with one thing only
_REGION = re.compile(r"\.iot\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?\.?$")


def region_of(endpoint: str) -> str:
    """Return the region in the name of an AWS IoT data endpoint; "REGION", to be replaced, if there is none."""
    found = _REGION.search(endpoint.lower())
    return found[1] if found else "REGION"


def policy(config: Config, account: str, *, is_for_fleet: bool) -> dict[str, Any]:
    """Return the policy document, for the configured thing or, with a policy variable, for any thing configured alike.

    If that is larger than AWS IoT takes, the agent may subscribe to everything below `jobs`, and name any namespace.
    """
    exact = _document(config, account, is_for_fleet=is_for_fleet, is_exact=True)
    if len(re.sub(r"\s", "", json.dumps(exact))) <= LARGEST_CHARACTERS:
        return exact
    return _document(config, account, is_for_fleet=is_for_fleet, is_exact=False)


def _document(config: Config, account: str, *, is_for_fleet: bool, is_exact: bool) -> dict[str, Any]:
    aws = config.aws
    region = region_of(aws.endpoint)
    prefix = f"arn:{'aws-cn' if region.startswith('cn-') else 'aws'}:iot:{region}:{account}:"
    thing = ANY_THING if is_for_fleet else aws.thing_name
    client_id = ANY_THING if is_for_fleet and aws.client_id == aws.thing_name else aws.client_id
    topics = Topics(thing)
    filters = _filters(config, topics) if is_exact else [f"{topics.root}/*"]
    statements = {
        "iot:Connect": [f"client/{client_id}"],
        "iot:Subscribe": [f"topicfilter/{topic_filter}" for topic_filter in filters],
        "iot:Receive": [f"topic/{topic_filter.replace('+', '*')}" for topic_filter in filters],
        "iot:Publish": [f"topic/{topic}" for topic in _requests(config, topics, is_exact=is_exact)],
    }
    if config.namespaces:  # over HTTPS, AWS IoT knows no thing of the connection, so there is no variable for it
        listed = "*" if is_for_fleet else aws.thing_name
        statements["iotjobsdata:GetPendingJobExecutions"] = [f"topic/$aws/things/{listed}"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": [prefix + resource for resource in resources]}
            for action, resources in statements.items()
        ],
    }


def _filters(config: Config, topics: Topics) -> list[str]:
    served = config.namespaces_served
    notifications = topics.notifications(served, with_api_text_form=config.aws.api_text_topics)
    return [*topics.answers(served), *notifications]


def _requests(config: Config, topics: Topics, *, is_exact: bool) -> list[str]:
    """Return what the agent publishes to. What the default namespace needs covers the other namespaces too."""
    of_any_namespace = [topics.describe("", "*"), topics.update("", "*")]
    if config.aws.default_namespace:
        return [topics.get, *of_any_namespace]
    if not is_exact:
        return of_any_namespace
    named = [entry.id for entry in config.namespaces]
    return [request(namespace, "*") for namespace in named for request in (topics.describe, topics.update)]
