"""Requests checked against AWS's own service models, as botocore carries them. The only file that knows botocore.

boto3 checks neither maxima nor patterns nor enums, so the service must. Owns routing, the types of query parameters
and the wording of AWS's validation messages; rules that the models do not state are the business of `jobs`.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import ServiceModel

from iot_jobs_simulator.refusals import invalid

_ASCII_CLASSES: Final = {"Upper": "A-Z", "Digit": "0-9", "Graph": "!-~"}  # Java's POSIX classes
_PROPERTY: Final = re.compile(r"\\p\{(\w+)\}")
_PRIVATE_USE: Final = range(0xE000, 0xF8FF)
_LONGS: Final = range(-(2**63), 2**63)


@functools.cache
def _service_model(service: str) -> ServiceModel:
    """AWS's model, which nobody changes: reading it takes as long as the rest of a simulator's start."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


class ServiceApi:
    """One service's operations: `iot` (control plane) or `iot-jobs-data` (data plane)."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._model = _service_model(service)
        self._routes: dict[tuple[str, int], list[tuple[list[str], str]]] = {}
        for method, template, name in self._all_routes():
            segments = template.split("/")
            self._routes.setdefault((method, len(segments)), []).append((segments, name))

    def find_operation(self, method: str, raw_path: str) -> tuple[str, dict[str, str]] | None:
        """The operation behind method and path, with the members that the path holds, percent-decoded one by one."""
        segments = raw_path.split("/")
        for template, name in self._routes.get((method, len(segments)), []):
            if (members := _match(template, segments)) is not None:
                return name, members
        return None

    def read_query(self, operation: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The members that the query string holds, with their types; parameters unknown to the model are ignored."""
        members: dict[str, Any] = {}
        for name, shape in self._members(operation).items():
            wire_name = shape.serialization.get("name", name)
            if shape.serialization.get("location") == "querystring" and wire_name in query:
                members[name] = _typed(shape.type_name, query[wire_name], name)
        return members

    def read_body(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The members that belong in the body; what belongs in path or query string is nothing there."""
        shapes = self._members(operation)
        return {name: value for name, value in body.items() if name in shapes and _is_in_body(shapes[name])}

    def read_path(self, operation: str, members: Mapping[str, str]) -> dict[str, Any]:
        """The members that the path holds, as `find_operation` gave them, with their types."""
        shapes = self._members(operation)
        return {name: _typed(shapes[name].type_name, text, name) for name, text in members.items()}

    def check(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """The known members of a request and of what is in it, null ones left out, or InvalidRequest in AWS's words."""
        shape = self._model.operation_model(operation).input_shape
        known: dict[str, Any] = _given(shape, members) if shape else {}
        problems = list(_problems(shape, known, "")) if shape else []
        if problems:
            errors = "error" if len(problems) == 1 else "errors"
            raise invalid(f"{len(problems)} validation {errors} detected: {'; '.join(problems)}")
        return known

    def unknown_members(self, operation: str, members: Mapping[str, Any]) -> list[str]:
        """The members, and those in them, that the model does not have, by their paths. AWS's CLI refuses them."""
        return list(_unknown(self._model.operation_model(operation).input_shape, members, ""))

    def check_shape(self, shape_name: str, value: Any, path: str) -> None:
        """Check one value that the model has a shape for, but no member of the operation."""
        for problem in _problems(self._model.shape_for(shape_name), value, path):
            raise invalid(f"1 validation error detected: {problem}")

    def answers(self, operation: str) -> bool:
        """Whether the operation has an answer; a success of the others has an empty body."""
        return self._model.operation_model(operation).output_shape is not None

    def error_status(self, exception: str) -> int:
        """The HTTP status of an exception; 500 of those that the service's model does not have."""
        if exception not in self._model.shape_names:
            return 500
        return int(self._model.shape_for(exception).metadata["error"]["httpStatusCode"])

    def _members(self, operation: str) -> Mapping[str, Any]:
        shape = self._model.operation_model(operation).input_shape
        return shape.members if shape else {}

    def _all_routes(self) -> Iterator[tuple[str, str, str]]:
        for name in self._model.operation_names:
            http = self._model.operation_model(name).http
            yield http["method"], http["requestUri"].split("?")[0], name


def _is_in_body(shape: Any) -> bool:
    return "location" not in shape.serialization


def _given(shape: Any, value: Any) -> Any:
    """The value, without what the model does not know and without null, which stands for a member not given."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        given = {name: value[name] for name in shape.members if value.get(name) is not None}
        return {name: _given(shape.members[name], member) for name, member in given.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_given(shape.member, entry) for entry in value]
    return value


def _unknown(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in value.items():
            if name in shape.members:
                yield from _unknown(shape.members[name], member, f"{path}{name}.")
            else:
                yield path + name
    elif shape.type_name == "list" and isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _unknown(shape.member, entry, f"{path}{index}.")


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    members = {}
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{") and segment:
            members[expected.strip("{}")] = unquote(segment)
        elif expected != unquote(segment):
            return None
    return members


def _typed(type_name: str, text: str, name: str) -> Any:
    if type_name == "boolean" and text in ("true", "false"):
        return text == "true"
    if type_name in ("integer", "long") and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if type_name in ("boolean", "integer", "long"):
        raise invalid(f"1 validation error detected: {_constraint(text, name, f'Member must be of type {type_name}')}")
    return text


def _constraint(value: Any, path: str, rule: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Every violated constraint of a shape and of what is below it."""
    expected, check = _CHECKS.get(shape.type_name, (object, _nothing))
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield _constraint(value, path, f"Member must be of type {shape.type_name}")
    else:
        yield from check(shape, value, path)


def _nothing(_shape: Any, _value: Any, _path: str) -> Iterator[str]:
    return iter(())


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield _constraint(None, prefix + name, "Member must not be null")
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _problems(member, value[name], prefix + name)


def _list(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for index, entry in enumerate(value, 1):
        yield from _problems(shape.member, entry, f"{path}.{index}.member")


def _map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for key, entry in value.items():
        yield from _problems(shape.key, key, f"{path}.key")
        yield from _problems(shape.value, entry, f"{path}.{key}.member")


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    pattern = shape.metadata.get("pattern")
    if pattern is not None and re.fullmatch(expanded(pattern, value), value) is None:
        yield _constraint(value, path, f"Member must satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        yield _constraint(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")


def _number(shape: Any, value: float, path: str) -> Iterator[str]:
    if value < shape.metadata.get("min", value):
        yield _constraint(value, path, f"Member must have value greater than or equal to {shape.metadata['min']}")
    if value > shape.metadata.get("max", value):
        yield _constraint(value, path, f"Member must have value less than or equal to {shape.metadata['max']}")


def _long(shape: Any, value: int, path: str) -> Iterator[str]:
    if value not in _LONGS:
        yield _constraint(value, path, "Member must be of type long")
    yield from _number(shape, value, path)


def _length(shape: Any, value: Any, path: str) -> Iterator[str]:
    if len(value) < shape.metadata.get("min", 0):
        yield _constraint(value, path, f"Member must have length greater than or equal to {shape.metadata['min']}")
    if len(value) > shape.metadata.get("max", len(value)):
        yield _constraint(value, path, f"Member must have length less than or equal to {shape.metadata['max']}")


_CHECKS: Final[Mapping[str, tuple[Any, Callable[[Any, Any, str], Iterator[str]]]]] = {
    "structure": (dict, _structure),
    "list": (list, _list),
    "map": (dict, _map),
    "string": (str, _string),
    "integer": (int, _number),
    "long": (int, _long),
    "double": ((int, float), _number),
    "boolean": (bool, _nothing),
}


def expanded(pattern: str, value: str) -> str:
    r"""The pattern for Python's `re`, which has no `\p{…}`: each becomes those characters of the value it means."""

    def characters(match: re.Match[str]) -> str:
        name = match[1]
        if name in _ASCII_CLASSES:
            return _ASCII_CLASSES[name]
        meant = {character for character in value if unicodedata.category(character).startswith(name)}
        absent = next(chr(code) for code in _PRIVATE_USE if chr(code) not in value)
        return re.escape("".join(sorted(meant)) or absent)

    return _PROPERTY.sub(characters, pattern)
