"""Things, as far as Jobs needs them: they exist, have an ARN, and are found by name or by ARN. Pure."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.refusals import Code, Refused, not_found

REGION = "us-east-1"
ACCOUNT = "123456789012"


def arn(resource: str) -> str:
    """The ARN of a resource such as `thing/NAME` in the simulator's one region and account."""
    return f"arn:aws:iot:{REGION}:{ACCOUNT}:{resource}"


@dataclass(frozen=True, slots=True)
class Thing:
    """One device in the registry."""

    name: str
    thing_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """As job targets name it."""
        return arn(f"thing/{self.name}")


class Registry:
    """All things."""

    def __init__(self) -> None:
        self._things: dict[str, Thing] = {}

    def create(self, name: str, attributes: Mapping[str, str]) -> Thing:
        """Create a thing; the same again is no error, another configuration is (API reference, CreateThing)."""
        present = self._things.get(name)
        if present is None:
            present = self._things[name] = Thing(name, str(uuid.uuid4()), dict(attributes))
        elif dict(present.attributes) != dict(attributes):
            raise Refused(
                Code.RESOURCE_ALREADY_EXISTS,
                f"Thing {name} already exists in account with different attributes",
                {"resourceId": present.thing_id, "resourceArn": present.arn},
            )
        return present

    def find(self, name: str) -> Thing:
        """The thing of that name, or ResourceNotFound."""
        thing = self._things.get(name)
        if thing is None:
            raise not_found(f"Thing {name} not found")
        return thing

    def find_by_arn(self, target: str) -> Thing:
        """The thing that a job target names, or ResourceNotFound, which another account's or region's are too."""
        prefix = arn("thing/")
        name = target.removeprefix(prefix)
        if not target.startswith(prefix) or name not in self._things:
            raise not_found(f"Target {target} not found")
        return self._things[name]
