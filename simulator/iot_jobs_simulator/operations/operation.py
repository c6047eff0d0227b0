"""What an operation of the control plane is, and how one shows a page of a list."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from iot_jobs_simulator.jobs import listing
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.ordered import Entry, Key
from iot_jobs_simulator.refusals import invalid

OperationRule: TypeAlias = Callable[[JobStore, Json, float], Json]


@dataclass(frozen=True, slots=True)
class Operation:
    """`members` are those of the request that mean something here, checked already when `perform` gets them."""

    members: frozenset[str]
    perform: OperationRule


def operation(members: str, perform: OperationRule) -> Operation:
    """An operation, the names of its members separated by spaces."""
    return Operation(frozenset(members.split()), perform)


def check_supported(name: str, supported: AbstractSet[str], members: Json) -> None:
    """Refuse a member that would have to be ignored; an empty one asks for nothing."""
    for member, value in members.items():
        if member not in supported and value not in ({}, []) and value is not False:
            raise invalid(f"{member} of {name} is not supported by this simulator")


def listed(
    members: Json,
    result_key: str,
    after: Callable[[Key | None], Iterator[tuple[Key, Entry]]],
    view: Callable[[Entry], object],
    kinds: tuple[type, ...] = (str,),
) -> Json:
    """The answer of a list operation: one page under its result key, and `nextToken` unless it is the last."""
    shown, token = listing.page(after, token=members.get("nextToken"), size=members.get("maxResults"), kinds=kinds)
    body: Json = {result_key: [view(entry) for entry in shown]}
    return body if token is None else body | {"nextToken": token}
