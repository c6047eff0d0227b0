"""Operations on thing groups and their members. Groups are static; dynamic ones are refused by name."""

from collections.abc import Iterator, Mapping
from typing import Final

from iot_jobs_simulator.jobs import membership, views
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.operations.operation import Operation, listed, operation
from iot_jobs_simulator.ordered import Key
from iot_jobs_simulator.refusals import Code, Refused, check_version, invalid
from iot_jobs_simulator.registry import tags
from iot_jobs_simulator.registry.groups import ThingGroup


def _create_group(store: JobStore, members: Json, now: float) -> Json:
    tags.valid_tags(members.get("tags", ()))
    group = store.registry.groups.create(
        members["thingGroupName"], members.get("parentGroupName"), members.get("thingGroupProperties", {}), now
    )
    store.tags.begin(group.arn, members.get("tags", ()))
    if not store.tags.are(group.arn, members.get("tags", ())):
        raise Refused(
            Code.RESOURCE_ALREADY_EXISTS,
            f"Resource {group.arn} already exists in current account with different properties",
            {"resourceId": None, "resourceArn": None},
        )
    return {"thingGroupName": group.name, "thingGroupArn": group.arn, "thingGroupId": group.group_id}


def _describe_group(store: JobStore, members: Json, _now: float) -> Json:
    group = store.registry.groups.find(members["thingGroupName"])
    properties: Json = {"attributePayload": {"attributes": dict(group.attributes)}} if group.attributes else {}
    if group.description is not None:
        properties["thingGroupDescription"] = group.description
    metadata: Json = {"creationDate": views.moment(group.created_at)}
    if group.parent is not None:
        metadata["parentGroupName"] = group.parent.name
        metadata["rootToParentThingGroups"] = [_named(each) for each in group.parent.lineage()][::-1]
    return {
        "thingGroupName": group.name,
        "thingGroupId": group.group_id,
        "thingGroupArn": group.arn,
        "version": group.version,
        "thingGroupProperties": properties,
        "thingGroupMetadata": metadata,
    }


def _update_group(store: JobStore, members: Json, _now: float) -> Json:
    version = store.registry.groups.update(
        members["thingGroupName"], members["thingGroupProperties"], members.get("expectedVersion")
    )
    return {"version": version}


def _delete_group(store: JobStore, members: Json, now: float) -> Json:
    """A group that does not exist is deleted already (API reference, DeleteThingGroup)."""
    group = store.registry.groups.get(members["thingGroupName"])
    if group is not None:
        check_version(f"Thing group {group.name}", group.version, members.get("expectedVersion"))
        membership.delete_group(store, group, now)
    return {}


def _list_groups(store: JobStore, members: Json, _now: float) -> Json:
    """All groups, or those below one: all levels with `recursive`, else the first. Unset, it is true for all groups."""
    groups = store.registry.groups
    parent = groups.find(members["parentGroup"]) if "parentGroup" in members else None
    is_recursive = members.get("recursive", parent is None)
    prefix = members.get("namePrefixFilter", "")

    def is_wanted(group: ThingGroup) -> bool:
        above = [group.parent, *group.parent.lineage(), None] if is_recursive and group.parent else [group.parent]
        return parent in above and group.name.startswith(prefix)

    def after(key: Key | None) -> Iterator[tuple[Key, ThingGroup]]:
        return ((place, group) for place, group in groups.after(key) if is_wanted(group))

    return listed(members, "thingGroups", after, _named)


def _add_thing(store: JobStore, members: Json, now: float) -> Json:
    """`overrideDynamicGroups` changes nothing, since there are no dynamic groups to override."""
    group = _group(store, members)
    membership.join(store, _thing_name(store, members), group, now)
    return {}


def _remove_thing(store: JobStore, members: Json, now: float) -> Json:
    group = _group(store, members)
    membership.leave(store, _thing_name(store, members), group, now)
    return {}


def _list_things(store: JobStore, members: Json, _now: float) -> Json:
    group = store.registry.groups.find(members["thingGroupName"])
    if not members.get("recursive", False):
        return listed(members, "things", group.things.after, str)
    names = membership.members(group)
    return listed(members, "things", lambda key: (((name,), name) for name in names if (name,) > (key or ())), str)


def _list_of_thing(store: JobStore, members: Json, _now: float) -> Json:
    thing = store.registry.find(members["thingName"])
    groups = store.registry.groups.of_thing(thing.name)

    def after(key: Key | None) -> Iterator[tuple[Key, ThingGroup]]:
        return (((group.name,), group) for group in groups if (group.name,) > (key or ()))

    return listed(members, "thingGroups", after, _named)


def _group(store: JobStore, members: Json) -> ThingGroup:
    """The group that a request names by name, by ARN, or by both."""
    groups = store.registry.groups
    found = [
        *([groups.find(members["thingGroupName"])] if "thingGroupName" in members else []),
        *([groups.find_by_arn(members["thingGroupArn"])] if "thingGroupArn" in members else []),
    ]
    if len(set(found)) != 1:
        raise invalid("One thing group is needed, as thingGroupName or as thingGroupArn")
    return found[0]


def _thing_name(store: JobStore, members: Json) -> str:
    """The thing that a request names by name, by ARN, or by both."""
    found = [
        *([store.registry.find(members["thingName"]).name] if "thingName" in members else []),
        *([store.registry.find_by_arn(members["thingArn"]).name] if "thingArn" in members else []),
    ]
    if len(set(found)) != 1:
        raise invalid("One thing is needed, as thingName or as thingArn")
    return found[0]


def _named(group: ThingGroup) -> Json:
    return {"groupName": group.name, "groupArn": group.arn}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateThingGroup": operation("thingGroupName parentGroupName thingGroupProperties tags", _create_group),
    "DescribeThingGroup": operation("thingGroupName", _describe_group),
    "UpdateThingGroup": operation("thingGroupName thingGroupProperties expectedVersion", _update_group),
    "DeleteThingGroup": operation("thingGroupName expectedVersion", _delete_group),
    "ListThingGroups": operation("nextToken maxResults parentGroup namePrefixFilter recursive", _list_groups),
    "AddThingToThingGroup": operation(
        "thingGroupName thingGroupArn thingName thingArn overrideDynamicGroups", _add_thing
    ),
    "RemoveThingFromThingGroup": operation("thingGroupName thingGroupArn thingName thingArn", _remove_thing),
    "ListThingsInThingGroup": operation("thingGroupName recursive nextToken maxResults", _list_things),
    "ListThingGroupsForThing": operation("thingName nextToken maxResults", _list_of_thing),
}
