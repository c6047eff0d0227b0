"""Turns a job document into a plan, or raises DocumentError. Judges the whole document before any of it runs.

Owns the list of the forms that a document can have, and the order in which to try them (docs/documents.md); AWS's own
two are in `documents.aws_document`. Pure: what the device offers and allows is passed in. Reasons name
members and handlers, but no other values.
"""

import math
from collections.abc import Mapping
from typing import Any

from iot_jobs_agent.core.job import Plan
from iot_jobs_agent.documents.aws_document import OLDER_FORM, plan_of_operation, plan_of_steps
from iot_jobs_agent.documents.enabled_handler import (
    EnabledHandler,
    Namespace,
    Rules,
    find_handler,
    handler_step,
    resolved_name,
)
from iot_jobs_agent.errors import DocumentError, ForeignDocumentError
from iot_jobs_agent.json_words import is_word

# AWS IoT Core quotas, "Maximum payload size". The quota of 32 KB for job documents counts placeholders, not the URLs
# that the service delivers in their place.
LARGEST_BYTES = 128 * 1024
_DEEPEST = 100  # far below Python's recursion limit, far above any sensible document
_COMMENT = "_comment"  # appears in AWS's own samples


def plan(
    document: object, *, size_bytes: int, namespace: Namespace, enabled: Mapping[str, EnabledHandler], rules: Rules
) -> Plan:
    """Judge `document`, which is parsed JSON of `size_bytes` as text; any value at all may be passed.

    `enabled` are the enabled handlers by name. A document without steps becomes a plan of one step.

    Raises:
        ForeignDocumentError: nothing here knows this kind of document.
        DocumentError: with a reason that a person can act on.
    """
    if size_bytes > LARGEST_BYTES:
        raise DocumentError(f"the document has {size_bytes} bytes; at most {LARGEST_BYTES} are allowed")
    if not isinstance(document, dict):
        raise ForeignDocumentError("the document is not a JSON object; write one with `operation` or with `steps`")
    _check_json(document)
    if namespace.handler:
        handler = find_handler(enabled, namespace.handler, where=f"namespace {namespace.name}")
        return Plan(steps=(handler_step(handler, document),))
    if _is_new_schema(document):
        return plan_of_steps(document, enabled, rules)
    if "operation" in document:
        return _plan_of_operation(document, enabled, rules)
    return _plan_by_member(document, enabled, rules)


def _is_new_schema(document: dict[str, Any]) -> bool:
    """Return whether this is AWS's schema 1.0: an array `steps` that is not just a param beside an `operation`."""
    is_array = isinstance(document.get("steps"), list)
    return is_array and ("operation" not in document or document.get("version") == "1.0")


def _plan_of_operation(document: dict[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of AWS's older form, or of ours: `operation` with `params`, or with the params beside it."""
    operation = document["operation"]
    if not isinstance(operation, str):
        raise ForeignDocumentError("`operation` is not the name of a handler; give it as a string")
    if not operation:
        raise DocumentError("`operation` is not the name of a handler, but empty; name the handler to run")
    if _is_older_form(document, operation, enabled, rules):
        return plan_of_operation(document, enabled, rules)
    handler = find_handler(enabled, operation, where="operation", operations=rules.operations)
    params = {key: value for key, value in document.items() if key != "operation"}
    if params.keys() == {"params"} and isinstance(params["params"], dict):
        params = params["params"]
    return Plan(steps=(handler_step(handler, params),))


def _is_older_form(
    document: dict[str, Any], operation: str, enabled: Mapping[str, EnabledHandler], rules: Rules
) -> bool:
    """Return whether this is AWS's older form: a name that ends in .sh, or a member `args` for a script.

    For a handler that is not a script, `args` may be one of its params: then the form allows no unknown members.
    """
    if operation.endswith(".sh"):
        return True
    handler = enabled.get(resolved_name(operation, rules.operations))
    if handler is not None and handler.directory:
        return "args" in document
    return isinstance(document.get("args"), list) and document.keys() <= OLDER_FORM | {_COMMENT}


def _plan_by_member(document: dict[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document without `operation` or `steps`: [[documents]] says which handler gets all of it."""
    for rule in rules.documents:
        if not rule.has or rule.has in document:
            handler = find_handler(enabled, rule.handler, where="[[documents]]")
            return Plan(steps=(handler_step(handler, document),))
    has = "`steps` is not an array" if "steps" in document else "the document has neither `operation` nor `steps`"
    telling = [key for key in document if key not in {"version", "steps"} and is_word(key)]
    entry = f' with has = "{telling[0]}"' if telling else ""
    raise ForeignDocumentError(
        f"{has}; name the handler to run as `operation`, or give such documents to an enabled handler by "
        f"[[documents]]{entry} in the device's configuration"
    )


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
