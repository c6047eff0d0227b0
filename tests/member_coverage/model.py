"""AWS's models as botocore carries them: which operations are those of Jobs, and which members each of them has.

A member is named by its path: `abortConfig.criteriaList[].action`, `eventConfigurations{}.Enabled`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from botocore.loaders import Loader
from botocore.model import ServiceModel

CONTROL: Final = "iot"
DEVICE: Final = "iot-jobs-data"
OF_JOBS: Final = re.compile(r"Job|EventConfigurations")  # names of operations of the service `iot`
FAMILIES: Final = {
    "Commands": "Command",
    "Software packages": "Package|Sbom",
    "OTA updates": "OTA",
    "Streams": "Stream",
}


class Member(NamedTuple):
    """One member of the input or of the output (`way` is `in` or `out`) of an operation."""

    service: str
    operation: str
    way: str
    path: str


@functools.cache
def service_model(service: str) -> ServiceModel:
    """The model that the installed botocore has."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def operations(model: ServiceModel) -> list[str]:
    """The operations that belong to Jobs: all of the data plane, and those of the control plane by their names."""
    return [name for name in model.operation_names if model.service_name == DEVICE or OF_JOBS.search(name)]


def family(model: ServiceModel, words: str) -> list[str]:
    """The operations of another family, which are not Jobs'."""
    return [name for name in model.operation_names if re.search(words, name) and not OF_JOBS.search(name)]


def members(model: ServiceModel) -> list[Member]:
    """Every member of every operation of Jobs, in the model's order."""
    found = []
    for operation in operations(model):
        shapes = model.operation_model(operation)
        for way, shape in (("in", shapes.input_shape), ("out", shapes.output_shape)):
            if shape is not None:
                found += [Member(model.service_name, operation, way, path) for path in paths(shape)]
    return found


def paths(shape: Any, prefix: str = "") -> Iterator[str]:
    """The members of a shape and of what is below it."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield prefix + name
            yield from paths(member, f"{prefix}{name}.")
    elif shape.type_name == "list":
        yield from paths(shape.member, f"{prefix[:-1]}[].")
    elif shape.type_name == "map":
        yield from paths(shape.value, f"{prefix[:-1]}{{}}.")


def given(shape: Any, value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The members that a value of the shape has, each with its own value; null counts as absent."""
    if shape is None:
        return
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield prefix + name, value[name]
                yield from given(member, value[name], f"{prefix}{name}.")
    elif shape.type_name == "list" and isinstance(value, list | tuple):
        for entry in value:
            yield from given(shape.member, entry, f"{prefix[:-1]}[].")
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for entry in value.values():
            yield from given(shape.value, entry, f"{prefix[:-1]}{{}}.")
