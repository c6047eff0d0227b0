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
    declared_params,
    find_handler,
    handler_step,
    resolved_name,
)
from iot_jobs_agent.documents.members import member_path, near_member
from iot_jobs_agent.errors import DocumentError, ForeignDocumentError
from iot_jobs_agent.json_words import is_word

# AWS IoT Core quotas, "Maximum payload size". The quota of 32 KB for job documents counts placeholders, not the URLs
# that the service delivers in their place.
LARGEST_BYTES = 128 * 1024
_DEEPEST = 100  # far below Python's recursion limit, far above any sensible document
_TELLING = frozenset(
    {"args", "runAsUser", "allowStdErr", "includeStdOut"}
)  # of AWS's older form; `path` may be a param
_NAMING = frozenset({"operation", "steps"})


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
    return Plan(steps=(handler_step(handler, _params(document, handler)),))


def _params(document: dict[str, Any], handler: EnabledHandler) -> dict[str, Any]:
    """Return the params in our own form: `params` if nothing but comments is beside it, else all members.

    Refuse what was meant otherwise: a member beside `params` of a handler that declares its params, and in the document
    of a script, a misspelling of a member of the older form.
    """
    beside = {key: value for key, value in document.items() if key != "operation"}
    declared = declared_params(handler)
    if isinstance(document.get("params"), dict) and "params" not in declared:
        others = [key for key in beside if key != "params" and not key.startswith("_")]
        if not others:
            return dict(document["params"])
        if declared:
            named = next(filter(is_word, others), "another member")
            raise DocumentError(f"{named}: stands beside `params`; write it into `params`, or leave it out")
    for key in beside if handler.directory else ():
        if key not in declared and (close := _meant_member(key, beside[key])):
            raise DocumentError(
                f"{member_path('', key)}: is not known in a document for a script; if it means `{close}`, spell it so; "
                "if it is a param, write it into `params`"
            )
    return beside


def _meant_member(key: str, value: object) -> str:
    """Return the member of the older form that tells it, if `key` is probably a misspelling of one; else ""."""
    if key.lower() in {"argument", "arguments", "argv", "parameters"} and isinstance(value, list):
        return "args"
    return near_member(key, _TELLING)


def _is_older_form(
    document: dict[str, Any], operation: str, enabled: Mapping[str, EnabledHandler], rules: Rules
) -> bool:
    """Return whether this is AWS's older form: a name that ends in .sh, or a member that tells it, for a script.

    For a handler that is not a script, `args` may be one of its params: then the form allows no unknown members.
    """
    if operation.endswith(".sh"):
        return True
    handler = enabled.get(resolved_name(operation, rules.operations))
    declared = frozenset[str]() if handler is None else declared_params(handler)
    if handler is not None and handler.directory:
        return "args" in document or bool(document.keys() & (_TELLING - declared))
    is_form = all(key in OLDER_FORM or key.startswith("_") for key in document)
    return isinstance(document.get("args"), list) and is_form and "args" not in declared


def _plan_by_member(document: dict[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document without `operation` or `steps`: [[documents]] says which handler gets all of it."""
    for rule in rules.documents:
        if not rule.has or rule.has in document:
            handler = find_handler(enabled, rule.handler, where="[[documents]]")
            return Plan(steps=(handler_step(handler, document),))
    has = "`steps` is not an array" if "steps" in document else "the document has neither `operation` nor `steps`"
    telling = [key for key in document if key not in {"version", "steps"} and is_word(key)]
    entry = f' with has = "{telling[0]}"' if telling else ""
    near = ((key, near_member(key, _NAMING)) for key in document if is_word(key))
    meant = next((f"if {key} means `{close}`, spell it so; else " for key, close in near if close), "")
    raise ForeignDocumentError(
        f"{has}; {meant}name the handler to run as `operation`, or give such documents to an enabled handler by "
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
