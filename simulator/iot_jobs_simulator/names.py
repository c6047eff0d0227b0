"""Names of resources: ARNs in the simulator's one region and account, and what an ARN is about. Pure."""

from typing import Final, NamedTuple

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
_PARTS: Final = 6


class ResourceName(NamedTuple):
    """What the ARN of a resource of AWS IoT says. The account of AWS's own resources is empty."""

    region: str
    account: str
    kind: str
    name: str


def arn(resource: str) -> str:
    """The ARN of a resource such as `thing/NAME`."""
    return f"arn:aws:iot:{REGION}:{ACCOUNT}:{resource}"


def resource_of(text: str) -> ResourceName | None:
    """What an ARN says; None if it is not one of AWS IoT."""
    parts = text.split(":", _PARTS - 1)
    if len(parts) < _PARTS or parts[:3] != ["arn", "aws", "iot"]:
        return None
    kind, _, name = parts[-1].partition("/")
    return ResourceName(parts[3], parts[4], kind, name)


def name_of(text: str, kind: str) -> str | None:
    """The name of a resource of that kind in the one region and account; None if the text is no ARN of one."""
    found = resource_of(text)
    return found.name if found is not None and found[:3] == (REGION, ACCOUNT, kind) else None
