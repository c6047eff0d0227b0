"""Things, as far as Jobs needs them: they exist, have an ARN, and are found by name or by ARN. Pure.

Thing groups are in `groups`, which the registry holds too.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from iot_jobs_simulator.names import arn, name_of
from iot_jobs_simulator.ordered import Key, Ordered
from iot_jobs_simulator.refusals import Code, Refused, check_version, not_found
from iot_jobs_simulator.registry.attributes import updated
from iot_jobs_simulator.registry.groups import Groups


@dataclass(slots=True, eq=False)
class Thing:
    """One device in the registry."""

    name: str
    thing_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    version: int = 1

    @property
    def arn(self) -> str:
        """As job targets name it."""
        return arn(f"thing/{self.name}")


class Registry:
    """All things, and the groups they are in."""

    def __init__(self) -> None:
        self._things: dict[str, Thing] = {}
        self._by_name: Ordered[Thing] = Ordered(lambda thing: (thing.name,))
        self.groups = Groups()

    def create(self, name: str, attributes: Mapping[str, str]) -> Thing:
        """Create a thing; the same again is not an error, another configuration is (API reference, CreateThing)."""
        present = self._things.get(name)
        wanted = updated({}, attributes, is_merged=False)
        if present is None:
            present = self._things[name] = Thing(name, str(uuid.uuid4()), wanted)
            self._by_name.add(present)
        elif dict(present.attributes) != wanted:
            raise Refused(
                Code.RESOURCE_ALREADY_EXISTS,
                f"Thing {name} already exists in account with different attributes",
                {"resourceId": present.thing_id, "resourceArn": present.arn},
            )
        return present

    def update(
        self, name: str, attributes: Mapping[str, str] | None, *, is_merged: bool, expected_version: int | None
    ) -> None:
        """Change a thing's attributes; None leaves them alone. Every update counts the version."""
        thing = self.find(name)
        check_version(f"Thing {name}", thing.version, expected_version)
        if attributes is not None:
            thing.attributes = updated(thing.attributes, attributes, is_merged=is_merged)
        thing.version += 1

    def delete(self, name: str) -> None:
        """Forget a thing that exists. What it was a member of, and its executions, are the caller's business."""
        self._by_name.remove(self._things.pop(name))

    def exists(self, name: str) -> bool:
        """Whether there is a thing of that name."""
        return name in self._things

    def find(self, name: str) -> Thing:
        """The thing of that name, or ResourceNotFound."""
        thing = self._things.get(name)
        if thing is None:
            raise not_found(f"Thing {name} not found")
        return thing

    def find_by_arn(self, target: str) -> Thing:
        """The thing that a job target names, or ResourceNotFound, which another account's or region's are too."""
        name = name_of(target, "thing")
        if name is None or name not in self._things:
            raise not_found(f"Target {target} not found")
        return self._things[name]

    @property
    def by_name(self) -> Ordered[Thing]:
        """All things in the order of their names, to look at only."""
        return self._by_name

    def after(self, key: Key | None) -> Iterator[tuple[Key, Thing]]:
        """The things by name, from a place on."""
        return self._by_name.after(key)
