"""What was deleted leaves nothing behind, so that a simulator can live long."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from iot_jobs_simulator.jobs import agenda

if TYPE_CHECKING:
    import pytest
    from conftest import Cloud

NOT_KEPT = (type, ModuleType, FunctionType, BuiltinFunctionType)


def kept_by(root: Any) -> int:
    """How many objects are kept alive by one, apart from code."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        for found in gc.get_referents(waiting.pop()):
            if id(found) not in seen and not isinstance(found, NOT_KEPT):
                seen.add(id(found))
                waiting.append(found)
    return len(seen)


def live_once(cloud: Cloud, number: int) -> None:
    """Two things, a group and two jobs, each with a name of its own, come and go."""
    thing, idle, group, job = (f"{kind}-{number}" for kind in ("thing", "idle", "group", "job"))
    for name in (thing, idle):
        cloud.create_thing(name)
        assert cloud.accepted("get", name)["queuedJobs"] == []
    arn = cloud.create_group(group, thing)
    schedule = {"endTime": "2024-11-01T00:00"}
    members = {"targets": [arn], "document": "{}", "targetSelection": "CONTINUOUS", "schedulingConfig": schedule}
    cloud.operate("CreateJob", jobId=job, **members, namespaceId="team", tags=[{"Key": "k", "Value": "v"}])
    arn = cloud.operate("DescribeThing", thingName=thing)["thingArn"]
    cloud.operate("CreateJob", jobId=f"{job}-snapshot", targets=[arn], document="{}")
    cloud.accepted("start-next", thing, stepTimeoutInMinutes=5)
    cloud.accepted("get", thing)
    deletions: list[tuple[str, dict[str, Any]]] = [
        ("DeleteThingGroup", {"thingGroupName": group}),
        ("DeleteJob", {"jobId": job, "force": True}),
        ("DeleteJob", {"jobId": f"{job}-snapshot", "force": True}),
        ("DeleteThing", {"thingName": thing}),
        ("DeleteThing", {"thingName": idle}),
    ]
    for operation, named in deletions if number % 2 else reversed(deletions):
        cloud.operate(operation, **named)
    cloud.pass_time(seconds=1)
    cloud.store.take_publications()


def test_what_was_deleted_leaves_nothing_behind(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "SWEEP_AFTER", 0)
    for number in range(10):
        live_once(cloud, number)
    before = kept_by(cloud.store)
    for number in range(10, 60):
        live_once(cloud, number)
    assert kept_by(cloud.store) - before < 50
