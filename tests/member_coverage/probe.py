"""Sends an example of every member to the simulator, and looks for it in all answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.member_coverage.examples import device_requests, requests
from tests.member_coverage.model import CONTROL, DEVICE, Member, given
from tests.member_coverage.stage import PAGED, START, Stage

from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

# Members that answers show under another name.
OTHERWISE = {"statusDetails": "detailsMap"}


@dataclass
class Findings:
    """What the simulator did: members that it took, where it shows them, members that it answered with."""

    taken: set[Member] = field(default_factory=set)
    shown: dict[Member, str] = field(default_factory=dict)
    refused: dict[Member, str] = field(default_factory=dict)


def probed() -> Findings:
    """Ask for everything, each further member in a service of its own."""
    findings = Findings()
    for service, asked in ((CONTROL, requests(START)), (DEVICE, device_requests())):
        for operation, (base, further) in asked.items():
            for more in ({}, *further):
                _probe(findings, service, operation, base, more)
    return findings


def _probe(findings: Findings, service: str, operation: str, base: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    stage = Stage()
    shape = stage.models[service].operation_model(operation).input_shape
    try:
        members = _completed(stage, operation, {**base, **more})
    except Refused:
        members = {**base, **more}
    sent = [(path, value) for path, value in given(shape, members) if _is_of(path, more or base)]
    before = stage.read_all()
    try:
        stage.ask(service, operation, members)
    except Refused as refusal:
        for path, _ in sent:
            findings.refused[Member(service, operation, "in", path)] = refusal.message
    else:
        after = stage.read_all() - before
        for path, value in sent:
            member = Member(service, operation, "in", path)
            findings.taken.add(member)
            name, text = path.rpartition(".")[2], json.dumps(value, sort_keys=True)
            where = {at for at, _, found, shown in after if found in (name, OTHERWISE.get(name)) and shown == text}
            if where:
                findings.shown[member] = min(where)
    for found_service, found_operation, path in stage.seen:
        findings.taken.add(Member(found_service, found_operation, "out", path))


def _completed(stage: Stage, operation: str, members: dict[str, Any]) -> dict[str, Any]:
    """The request with what only the running service knows: the id of a group, the token of a page."""
    if members.get("thingGroupId") == "GROUP-ID":
        members["thingGroupId"] = stage.store.registry.groups.find("all").group_id
    if operation in PAGED and "nextToken" in members:
        members["nextToken"] = stage.token(operation, members | {"nextToken": None})
    return members


def _is_of(path: str, members: Mapping[str, Any]) -> bool:
    return path.split(".", maxsplit=1)[0].split("[", maxsplit=1)[0].split("{", maxsplit=1)[0] in members
