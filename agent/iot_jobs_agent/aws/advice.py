"""What to say, and to advise, about MQTT and HTTPS with AWS IoT: the same words in `check` and in the log of `run`.

Pure. Each function returns one sentence without its full stop. Topics and filters are those of `messages`.
"""

from iot_jobs_agent.errors import RequestRefused

_THING_MISSING = {"ResourceNotFound", "HTTP 404"}  # the code of MQTT, and that of HTTPS
_FORBIDDEN = "HTTP 403"


def is_forbidden(error: RequestRefused) -> bool:
    """Return whether a list over HTTPS was refused for want of a permission."""
    return error.code == _FORBIDDEN


def is_thing_missing(error: RequestRefused) -> bool:
    """Return whether a request was refused because there is no such thing."""
    return error.code in _THING_MISSING


def not_let_in(client_id: str, why: str) -> str:
    """Say that the broker does not take the connection."""
    return (
        f"aws.client_id: the broker does not take the connection ({why}); let the certificate's policy allow "
        f"iot:Connect with the client id {client_id}, and see that the certificate is active"
    )


def taken_over(client_id: str) -> str:
    """Say that the connection ends again and again while nothing is unanswered."""
    return (
        f"aws.client_id: another client seems to connect as {client_id}, and AWS IoT ends the older connection of the "
        "two; give each client an id of its own"
    )


def subscription_refused(topic_filter: str) -> str:
    """Say that SUBACK refuses the subscription."""
    return f"the broker refuses the subscription to {topic_filter}; {_allow('iot:Subscribe', topic_filter)}"


def subscription_unanswered(topic_filter: str) -> str:
    """Say that there is no SUBACK."""
    return f"the broker does not answer the subscription to {topic_filter}; {_allow('iot:Subscribe', topic_filter)}"


def subscription_closes(topic_filter: str) -> str:
    """Say that the broker ends the connection on the subscription, as AWS IoT does if the policy forbids it."""
    return f"the broker hangs up on the subscription to {topic_filter}; {_allow('iot:Subscribe', topic_filter)}"


def request_closes(topic: str) -> str:
    """Say that the broker ends the connection on a request, as AWS IoT does if the policy forbids it."""
    return f"the broker hangs up on a request on {topic}; let the certificate's policy allow iot:Publish on it"


def request_unanswered(topic: str) -> str:
    """Say that a request has no answer on a connection that works."""
    return f"nothing comes back for a request on {topic}; {_allow('iot:Receive', topic)}"


def request_refused(thing_name: str, error: RequestRefused) -> str:
    """Say that the service refuses a request, over MQTT or HTTPS."""
    fix = "try again later, and look at the state of AWS IoT in this region"
    if is_thing_missing(error):
        fix = "create the thing (`aws iot create-thing`), or correct aws.thing_name"
    return f"aws.thing_name: a request for {thing_name} is refused ({error}); {fix}"


def list_forbidden(error: RequestRefused) -> str:
    """Say that the policy does not allow the list of a further namespace."""
    fix = "let the policy allow iotjobsdata:GetPendingJobExecutions, which lists the further namespaces"
    return f"HTTPS: the list of pending jobs is refused ({error}); {fix}"


def _allow(action: str, topic: str) -> str:
    root = "/".join(topic.split("/")[:4])  # $aws/things/NAME/jobs
    return f"let the certificate's policy allow {action} on {root}/*"
