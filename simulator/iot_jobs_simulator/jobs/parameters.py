"""The parameters of managed templates: which may be given, and what becomes of their placeholders. Pure.

AWS resolves them when a job is created (developer guide, page job-templates-managed). That a value is written as JSON
needs it, and what becomes of an optional parameter that is not given, is inferred; for the latter there is a switch.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from iot_jobs_simulator.jobs.managed_templates import ManagedTemplate, placeholder
from iot_jobs_simulator.refusals import Code, Refused, invalid

_PLACEHOLDER: Final = re.compile(r"\$\{aws:iot:parameter:([^${}]*)\}")


def check_parameters(template: ManagedTemplate | None, given: Mapping[str, str]) -> None:
    """Refuse parameters of a job that is from no managed template, unknown, missing and malformed ones."""
    if template is None:
        if given:
            raise invalid("documentParameters can only be used when creating jobs from AWS managed templates.")
        return
    known = {parameter.key: parameter for parameter in template.parameters}
    for key, value in given.items():
        if key not in known:
            raise invalid(f"documentParameters.{key} is not a parameter of {template.name}")
        if re.fullmatch(known[key].regex, value) is None:
            raise invalid(f"documentParameters.{key} does not match {known[key].regex}, the regex of {template.name}")
    missing = [key for key, parameter in known.items() if not parameter.is_optional and key not in given]
    if missing:
        raise invalid(f"documentParameters lacks {', '.join(missing)}, which {template.name} requires")


def with_parameters(document: str, template: ManagedTemplate | None, given: Mapping[str, str], *, drop: bool) -> str:
    """The document with the values of its parameters. One that was not given is empty.

    In the template's own document, not in one that the request has instead, its member can be dropped.
    """
    known = {parameter.key for parameter in template.parameters} if template is not None else set()
    for key in _PLACEHOLDER.findall(document):
        if key not in known:
            words = f"{placeholder(key)} stands for no parameter of a managed template"
            raise Refused(Code.INVALID_JOB_DOCUMENT, words)
    if drop and template is not None and document == template.document:
        absent = {placeholder(key) for key in known - given.keys()}
        document = json.dumps(_without(json.loads(document), absent), separators=(",", ":"))
    return _PLACEHOLDER.sub(lambda match: json.dumps(given.get(match[1], ""))[1:-1], document)


def _without(value: Any, absent: set[str]) -> Any:
    """The JSON value without the members that are nothing but an absent placeholder."""
    if isinstance(value, dict):
        return {name: _without(member, absent) for name, member in value.items() if not _is_one_of(member, absent)}
    if isinstance(value, list):
        return [_without(entry, absent) for entry in value]
    return value


def _is_one_of(value: Any, absent: set[str]) -> bool:
    return isinstance(value, str) and value in absent
