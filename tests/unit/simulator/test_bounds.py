"""Every bound that AWS's models state for a request of Jobs is held, and a refusal says which one, in AWS's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from tests.member_coverage import model
from tests.member_coverage.examples import device_requests, requests
from tests.member_coverage.model import CONTROL, DEVICE
from tests.member_coverage.stage import START, Stage

from iot_jobs_simulator import control_plane, device_plane
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = {CONTROL: requests(START), DEVICE: device_requests()}
SERVED = {CONTROL: control_plane.SUPPORTED.keys(), DEVICE: device_plane.OPERATIONS}
OPERATIONS = sorted((service, name) for service, asked in ASKED.items() for name in asked.keys() & SERVED[service])
STRANGER = "\u00a7"  # what no pattern takes that takes only some characters
CONTROL_CHARACTER = "\x07"


def bad_numbers(shape: Any, _value: Any) -> Iterator[tuple[Any, str]]:
    bounds = shape.metadata
    if "min" in bounds:
        yield bounds["min"] - 1, f"Member must have value greater than or equal to {bounds['min']}"
    if "max" in bounds:
        yield bounds["max"] + 1, f"Member must have value less than or equal to {bounds['max']}"


def bad_lengths(shape: Any, value: Any) -> Iterator[tuple[Any, str]]:
    bounds = shape.metadata
    if bounds.get("min"):
        yield value[:0], f"Member must have length greater than or equal to {bounds['min']}"
    if "max" in bounds:
        yield value[:1] * (bounds["max"] + 1), f"Member must have length less than or equal to {bounds['max']}"


def bad_strings(shape: Any, value: str) -> Iterator[tuple[Any, str]]:
    yield from bad_lengths(shape, value)
    if pattern := shape.metadata.get("pattern"):
        stranger = CONTROL_CHARACTER if r"\p{C}" in pattern else STRANGER
        yield value + stranger, f"Member must satisfy regular expression pattern: {pattern}"
    if shape.enum:
        yield "BOGUS", f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


BAD = {
    "integer": bad_numbers,
    "long": bad_numbers,
    "double": bad_numbers,
    "string": bad_strings,
    "list": bad_lengths,
}


def bad_values(shape: Any, value: Any) -> Iterator[tuple[Any, str]]:
    """Values like this one that the shape does not allow, and what AWS says of them."""
    if shape.type_name in BAD:
        yield from BAD[shape.type_name](shape, value)
    yield {"of": "another type"} if shape.type_name == "string" else "", f"Member must be of type {shape.type_name}"


Variants: TypeAlias = "Iterator[tuple[Any, str, str]]"


def variants(shape: Any, value: Any, path: str = "") -> Variants:
    """The value with one thing wrong in it, where that is, as AWS writes it, and what AWS says."""
    if path:
        yield from ((bad, path, words) for bad, words in bad_values(shape, value))
    inner = {"structure": of_structure, "list": of_list, "map": of_map}.get(shape.type_name)
    if inner is not None:
        yield from inner(shape, value, path)


def of_structure(shape: Any, value: dict[str, Any], path: str) -> Variants:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        yield {key: member for key, member in value.items() if key != name}, prefix + name, "Member must not be null"
    for name in shape.members.keys() & value.keys():
        for bad, place, words in variants(shape.members[name], value[name], prefix + name):
            yield value | {name: bad}, place, words


def of_list(shape: Any, value: list[Any], path: str) -> Variants:
    for bad, place, words in variants(shape.member, value[0], f"{path}.1.member"):
        yield [bad, *value[1:]], place, words


def of_map(shape: Any, value: dict[str, Any], path: str) -> Variants:
    [(key, member)] = value.items()
    for bad, words in bad_values(shape.key, key):
        if isinstance(bad, str):
            yield {bad: member}, f"{path}.key", words
    for bad, place, words in variants(shape.value, member, f"{path}.{key}.member"):
        yield {key: bad}, place, words


def wrong_requests(service: str, operation: str) -> Variants:
    """Requests with one thing wrong, for each bound that a member of the operation has."""
    shape = model.service_model(service).operation_model(operation).input_shape
    base, further = ASKED[service][operation]
    for more in ({}, *further):
        yield from variants(shape, {name: value for name, value in {**base, **more}.items() if value is not None})


@pytest.fixture(scope="module")
def stage() -> Stage:
    """A service that refuses everything here, and so stays as it is."""
    return Stage()


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_each_bound_of_the_model_is_held_in_awss_words(stage: Stage, service: str, operation: str) -> None:
    for members, place, words in wrong_requests(service, operation):
        with pytest.raises(Refused) as raised:
            stage.ask(service, operation, members)
        assert raised.value.code == "InvalidRequest"
        assert f"at '{place}' failed to satisfy constraint: {words}" in raised.value.message


def test_hundreds_of_bounds_are_tried() -> None:
    tried = {
        (operation, *found[1:]) for service, operation in OPERATIONS for found in wrong_requests(service, operation)
    }
    assert len(tried) > 300
