"""Turns a job document into a plan, or raises DocumentError. Judges the whole document before any of it runs.

Owns the list of the forms that a document can have, and the order in which to try them; AWS's own two are in
`documents.aws_document`. Pure: what the device offers and allows is passed in. Reasons name members and handlers, but
no other values.
"""

import math
from collections.abc import Mapping
from typing import Any

from iot_jobs_agent.core.job import Plan
from iot_jobs_agent.documents.aws_document import plan_of_operation, plan_of_steps
from iot_jobs_agent.documents.enabled_handler import EnabledHandler, Namespace, Rules, find_handler, handler_step
from iot_jobs_agent.errors import DocumentError, UnknownHandlerError

LARGEST_BYTES = 32 * 1024  # AWS IoT Device Management quotas, "Job document size"
_DEEPEST = 100  # far below Python's recursion limit, far above any sensible document
# `_comment` appears in AWS's own samples.
_OLD_SCHEMA = frozenset({"operation", "args", "path", "allowStdErr", "includeStdOut", "_comment"})


def plan(
    document: object, *, size_bytes: int, namespace: Namespace, enabled: Mapping[str, EnabledHandler], rules: Rules
) -> Plan:
    """Judge `document`, which is parsed JSON of `size_bytes` as text; any value at all may be passed.

    `enabled` are the enabled handlers by name. A document without steps becomes a plan of one step.

    Raises:
        DocumentError: with a reason that a person can act on.
    """
    if size_bytes > LARGEST_BYTES:
        raise DocumentError(f"the document has {size_bytes} bytes; at most {LARGEST_BYTES} are allowed")
    if not isinstance(document, dict):
        raise DocumentError("the document is not a JSON object; write one with `operation` or with `steps`")
    _check_json(document)
    if namespace.handler:
        handler = find_handler(enabled, namespace.handler, where=f"namespace {namespace.name}")
        return Plan(steps=(handler_step(handler, document),))
    if _is_new_schema(document):
        return plan_of_steps(document, enabled, rules)
    if _is_old_schema(document):
        return plan_of_operation(document, enabled, rules)
    return _plan_of_one(document, enabled)


def _is_new_schema(document: dict[str, Any]) -> bool:
    """Return whether this is AWS's schema 1.0: an array `steps` that is not just a param beside an `operation`."""
    is_array = isinstance(document.get("steps"), list)
    return is_array and ("operation" not in document or document.get("version") == "1.0")


def _is_old_schema(document: dict[str, Any]) -> bool:
    operation = document.get("operation")
    return (
        isinstance(operation, str)
        and document.keys() <= _OLD_SCHEMA
        and (isinstance(document.get("args"), list) or operation.endswith(".sh"))
    )


def _plan_of_one(document: dict[str, Any], enabled: Mapping[str, EnabledHandler]) -> Plan:
    """Return the plan of our form: `operation` with `params`, or with the params as members beside it."""
    if "operation" not in document:
        has = "`steps` is not an array" if "steps" in document else "the document has neither `operation` nor `steps`"
        raise UnknownHandlerError(f"{has}; name the handler to run as `operation`, or give an array of `steps`")
    operation = document["operation"]
    if not isinstance(operation, str) or not operation:
        raise DocumentError("`operation` is not the name of a handler; give it as a string")
    handler = find_handler(enabled, operation, where="operation")
    params = {key: value for key, value in document.items() if key != "operation"}
    if params.keys() == {"params"} and isinstance(params["params"], dict):
        params = params["params"]
    return Plan(steps=(handler_step(handler, params),))


def _check_json(document: object) -> None:
    """Refuse what JSON text cannot carry to a handler, and nesting that could exhaust a reader. Deliberately a loop."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        if not level:
            return
        below: list[Any] = []
        for value in level:
            _check_scalar(value)
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
    raise DocumentError(f"the document is nested deeper than {_DEEPEST} levels; make it flatter")


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentError("the document holds NaN or an infinite number; JSON has finite numbers only")
    if isinstance(value, int) and value.bit_length() > 1024:  # noqa: PLR2004 - a double's range, RFC 8259 section 6
        raise DocumentError("the document holds a number beyond 1e308; send it as a string")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DocumentError("the document holds half of a surrogate pair; send well-formed Unicode") from None
