"""Operations on things. Thing types and billing groups are refused by name."""

from collections.abc import Iterator, Mapping
from typing import Final

from iot_jobs_simulator.jobs import membership
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.operations.operation import Operation, listed, operation
from iot_jobs_simulator.ordered import Key
from iot_jobs_simulator.refusals import check_version, invalid
from iot_jobs_simulator.registry.things import Thing


def _create_thing(store: JobStore, members: Json, _now: float) -> Json:
    thing = store.registry.create(members["thingName"], members.get("attributePayload", {}).get("attributes", {}))
    return {"thingName": thing.name, "thingArn": thing.arn, "thingId": thing.thing_id}


def _describe_thing(store: JobStore, members: Json, _now: float) -> Json:
    thing = store.registry.find(members["thingName"])
    return {"defaultClientId": thing.name, "thingId": thing.thing_id, **_shown(thing)}


def _update_thing(store: JobStore, members: Json, _now: float) -> Json:
    payload = members.get("attributePayload", {})
    store.registry.update(
        members["thingName"],
        payload.get("attributes"),
        is_merged=payload.get("merge", False),
        expected_version=members.get("expectedVersion"),
    )
    return {}


def _delete_thing(store: JobStore, members: Json, now: float) -> Json:
    """A thing that does not exist is deleted already (API reference, DeleteThing)."""
    name = members["thingName"]
    if store.registry.exists(name):
        check_version(f"Thing {name}", store.registry.find(name).version, members.get("expectedVersion"))
        membership.delete_thing(store, name, now)
    return {}


def _list_things(store: JobStore, members: Json, _now: float) -> Json:
    name, value = members.get("attributeName"), members.get("attributeValue")
    if value is not None and name is None:
        raise invalid("attributeValue needs an attributeName")
    is_prefix = members.get("usePrefixAttributeValue", False)

    def is_wanted(thing: Thing) -> bool:
        if name is None:
            return True
        found = thing.attributes.get(name)
        if found is None or value is None:
            return found is not None
        return found.startswith(value) if is_prefix else found == value

    def after(key: Key | None) -> Iterator[tuple[Key, Thing]]:
        return ((place, thing) for place, thing in store.registry.after(key) if is_wanted(thing))

    return listed(members, "things", after, _shown)


def _shown(thing: Thing) -> Json:
    return {
        "thingName": thing.name,
        "thingArn": thing.arn,
        "attributes": dict(thing.attributes),
        "version": thing.version,
    }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateThing": operation("thingName attributePayload", _create_thing),
    "DescribeThing": operation("thingName", _describe_thing),
    "UpdateThing": operation("thingName attributePayload expectedVersion", _update_thing),
    "DeleteThing": operation("thingName expectedVersion", _delete_thing),
    "ListThings": operation("maxResults nextToken attributeName attributeValue usePrefixAttributeValue", _list_things),
}
