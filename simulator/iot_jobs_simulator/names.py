"""Names of resources: ARNs in the simulator's one region and account. Pure."""

from typing import Final

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"


def arn(resource: str) -> str:
    """The ARN of a resource such as `thing/NAME`."""
    return f"arn:aws:iot:{REGION}:{ACCOUNT}:{resource}"
