"""Thing groups: static, nested, with things as members (developer guide, page thing-groups). Pure.

Owns hierarchy and membership. What jobs make of a change of membership is the business of `jobs.membership`.
"""

import uuid
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from iot_jobs_simulator.names import arn, name_of
from iot_jobs_simulator.ordered import Key, Ordered
from iot_jobs_simulator.refusals import Code, Refused, check_version, invalid, not_found
from iot_jobs_simulator.registry.attributes import updated

MAX_GROUPS_OF_THING: Final = 10


@dataclass(slots=True, eq=False)
class ThingGroup:
    """One group. `things` are its direct members; `parent` never changes."""

    name: str
    group_id: str
    created_at: float
    parent: "ThingGroup | None"
    description: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    children: dict[str, "ThingGroup"] = field(default_factory=dict)
    things: Ordered[str] = field(default_factory=lambda: Ordered(lambda name: (name,)))

    @property
    def arn(self) -> str:
        """As job targets name it."""
        return arn(f"thinggroup/{self.name}")

    def lineage(self) -> Iterator["ThingGroup"]:
        """The group itself, its parent, and so on up to the root."""
        group: ThingGroup | None = self
        while group is not None:
            yield group
            group = group.parent

    def family(self) -> Iterator["ThingGroup"]:
        """The group itself and everything below it."""
        waiting = [self]
        while waiting:
            group = waiting.pop()
            yield group
            waiting.extend(group.children.values())

    @property
    def root(self) -> "ThingGroup":
        """The top of its hierarchy."""
        *_, root = self.lineage()
        return root


class Groups:
    """All thing groups."""

    def __init__(self) -> None:
        self._groups: dict[str, ThingGroup] = {}
        self._by_name: Ordered[ThingGroup] = Ordered(lambda group: (group.name,))
        self._of_thing: dict[str, dict[str, ThingGroup]] = defaultdict(dict)

    def create(self, name: str, parent_name: str | None, properties: Mapping[str, Any], now: float) -> ThingGroup:
        """Create a group; a repetition is not an error, another configuration is (API reference, CreateThingGroup)."""
        parent = self.find(parent_name) if parent_name is not None else None
        description = properties.get("thingGroupDescription")
        attributes = updated({}, _attributes(properties) or {}, is_merged=False)
        present = self._groups.get(name)
        if present is None:
            present = ThingGroup(name, str(uuid.uuid4()), now, parent, description, attributes)
            self._groups[name] = present
            self._by_name.add(present)
            if parent is not None:
                parent.children[name] = present
        elif (present.parent, present.description, dict(present.attributes)) != (parent, description, attributes):
            raise Refused(
                Code.RESOURCE_ALREADY_EXISTS,
                f"Thing Group {name} already exists in current account with different properties",
                {"resourceId": None, "resourceArn": None},
            )
        return present

    def update(self, name: str, properties: Mapping[str, Any], expected_version: int | None) -> int:
        """Change description and attributes; what is not given stays. The new version."""
        group = self.find(name)
        check_version(f"Thing group {name}", group.version, expected_version)
        group.description = properties.get("thingGroupDescription", group.description)
        attributes = _attributes(properties)
        if attributes is not None:
            is_merged = properties["attributePayload"].get("merge", False)
            group.attributes = updated(group.attributes, attributes, is_merged=is_merged)
        group.version += 1
        return group.version

    def delete(self, group: ThingGroup) -> list[str]:
        """Forget a group that has no children. The things that were in it, by name."""
        if group.children:
            raise invalid(f"Cannot delete thing group {group.name} when there are still child groups attached to it")
        if group.parent is not None:
            del group.parent.children[group.name]
        self._by_name.remove(self._groups.pop(group.name))
        things = list(group.things)
        for thing_name in things:
            self._forget_membership(thing_name, group)
        return things

    def get(self, name: str) -> ThingGroup | None:
        """The group of that name, if there is one."""
        return self._groups.get(name)

    def find(self, name: str) -> ThingGroup:
        """The group of that name, or ResourceNotFound."""
        group = self._groups.get(name)
        if group is None:
            raise not_found(f"Thing group {name} not found")
        return group

    def find_by_arn(self, target: str) -> ThingGroup:
        """The group that a job target names, or ResourceNotFound."""
        name = name_of(target, "thinggroup")
        if name is None or name not in self._groups:
            raise not_found(f"Target {target} not found")
        return self._groups[name]

    def find_by_id(self, group_id: str) -> ThingGroup:
        """The group of that id, or ResourceNotFound."""
        for group in self._by_name:
            if group.group_id == group_id:
                return group
        raise not_found(f"Thing group {group_id} not found")

    def of_thing(self, thing_name: str) -> list[ThingGroup]:
        """The groups that the thing is a direct member of, by name."""
        return sorted(self._of_thing.get(thing_name, {}).values(), key=lambda group: group.name)

    def is_in_any(self, thing_name: str, group_ids: Container[str]) -> bool:
        """Whether the thing is in one of these groups or in a group below one of them."""
        groups = self._of_thing.get(thing_name, {}).values()
        return any(each.group_id in group_ids for group in groups for each in group.lineage())

    def add_thing(self, thing_name: str, group: ThingGroup) -> bool:
        """Make the thing a member; False if it is one. Not two groups of one hierarchy, and not too many."""
        groups = self._of_thing.get(thing_name, {})
        if group.name in groups:
            return False
        if len(groups) >= MAX_GROUPS_OF_THING:
            raise invalid(f"Thing {thing_name} is in {len(groups)} groups, at most {MAX_GROUPS_OF_THING} are allowed")
        for other in groups.values():
            if other.root is group.root:
                raise invalid(f"Thing {thing_name} is in {other.name}, which is in the same hierarchy as {group.name}")
        self._of_thing[thing_name][group.name] = group
        group.things.add(thing_name)
        return True

    def remove_thing(self, thing_name: str, group: ThingGroup) -> bool:
        """End a membership; False if there is none."""
        if group.name not in self._of_thing.get(thing_name, {}):
            return False
        self._forget_membership(thing_name, group)
        group.things.remove(thing_name)
        return True

    def after(self, key: Key | None) -> Iterator[tuple[Key, ThingGroup]]:
        """The groups by name, from a place on."""
        return self._by_name.after(key)

    def _forget_membership(self, thing_name: str, group: ThingGroup) -> None:
        groups = self._of_thing[thing_name]
        del groups[group.name]
        if not groups:
            del self._of_thing[thing_name]


def _attributes(properties: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The attributes that are given, None if none are."""
    attributes: Mapping[str, str] | None = properties.get("attributePayload", {}).get("attributes")
    return attributes
