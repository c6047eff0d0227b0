"""AWS's two forms of job document: schema 1.0 with `steps`, and the older one with `operation` and `args`.

Source: AWS IoT developer guide, "Managed job templates", and the schema of the AWS IoT Device Client. The console
produces such documents from templates. A member that a template leaves unset arrives as "" or not at all, so both mean
that it is absent. Pure.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iot_jobs_agent.built_ins import BUILT_INS, RUN_COMMAND, BuiltIn
from iot_jobs_agent.core.job import Plan, Step
from iot_jobs_agent.documents.enabled_handler import (
    EnabledHandler,
    Rules,
    command_step,
    find_handler,
    handler_step,
    shown,
)
from iot_jobs_agent.errors import DocumentError

_LONGEST_NAME = 64
_ANY_DIRECTORY = "default"  # as a `path`: the usual directory of handlers


def plan_of_steps(document: Mapping[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document of schema 1.0, with every step judged.

    Raises:
        DocumentError: it names the first member that cannot be accepted.
    """
    if document.get("version") != "1.0":
        raise DocumentError('version: is not "1.0", the one that is known here; write a document of that version')
    if not document["steps"]:
        raise DocumentError("steps: is empty; give at least one step")
    _check_conditions(document, rules.device)
    include_stdout = _flag(document, "includeStdOut", "includeStdOut", default=True)
    steps = [
        _read_step(item, f"steps[{index}]", enabled, rules, name=f"step-{index + 1}")
        for index, item in enumerate(document["steps"])
    ]
    final = document.get("finalStep")
    has_final = final not in (None, "", {})
    if has_final:
        steps.append(_read_step(final, "finalStep", enabled, rules, name="final-step"))
    return Plan(steps=tuple(replace(step, include_stdout=include_stdout) for step in steps))


def plan_of_operation(document: Mapping[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document of the older schema: one handler, with arguments.

    Without `allowStdErr`, no line on stderr is allowed, as AWS defines it.

    Raises:
        DocumentError: it names the member that cannot be accepted.
    """
    step = _handler(document, "operation", "", enabled, rules, user="", name="")
    return Plan(
        steps=(
            replace(
                step,
                allow_stderr=_line_count(document, "allowStdErr", "allowStdErr") or 0,
                include_stdout=_flag(document, "includeStdOut", "includeStdOut", default=True),
            ),
        )
    )


def _check_conditions(document: Mapping[str, Any], device: Mapping[str, str]) -> None:
    """Refuse the document unless every condition holds: the device's fact must equal one of the condition's values."""
    conditions = document.get("conditions")
    if conditions in (None, ""):
        return
    if not isinstance(conditions, list):
        raise DocumentError("conditions: is not an array; write one of objects with `key`, `value` and `type`")
    for index, item in enumerate(conditions):
        where = f"conditions[{index}]"
        condition = _object(item, where)
        if (kind := _text(condition, "type", where)) not in {"", "stringEqual"}:
            raise DocumentError(f'{where}.type: {shown(kind)} is not known here; use "stringEqual"')
        if (key := _text(condition, "key", where)) not in device:
            raise DocumentError(f"{where}.key: {shown(key)} is not known here; use one of {', '.join(device)}")
        values = condition.get("value")
        if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
            raise DocumentError(f"{where}.value: is not an array of words; give the values of which one has to fit")
        if device[key] not in values:
            raise DocumentError(
                f"{where}: {key} of this device is {shown(device[key])}, which is none of its values; "
                "target the job at things that fit, or add the value"
            )


def _read_step(item: object, where: str, enabled: Mapping[str, EnabledHandler], rules: Rules, *, name: str) -> Step:
    where = f"{where}.action"
    action = _object(item.get("action") if isinstance(item, dict) else None, where)
    given = re.sub(r"[^\w .:-]", "-", _text(action, "name", where), flags=re.ASCII)[:_LONGEST_NAME]
    user = _user(action, where, rules)
    arguments = _object(action.get("input"), f"{where}.input")
    match action.get("type"):
        case "runHandler":
            step = _handler(arguments, "handler", f"{where}.input.", enabled, rules, user=user, name=given or name)
        case "runCommand":
            _must_be_own(user, where, rules)
            step = _command(arguments, f"{where}.input", enabled, rules, name=given or name)
        case _:
            raise DocumentError(f'{where}.type: is neither "runHandler" nor "runCommand"; use one of them')
    return replace(
        step,
        allow_stderr=_line_count(action, "allowStdErr", f"{where}.allowStdErr"),
        ignore_failure=_flag(action, "ignoreStepFailure", f"{where}.ignoreStepFailure", default=False),
    )


def _handler(
    table: Mapping[str, Any],
    member: str,
    prefix: str,
    enabled: Mapping[str, EnabledHandler],
    rules: Rules,
    *,
    user: str,
    name: str,
) -> Step:
    """Return the step for a handler: a script as a plain command, or a Python handler with its args as params."""
    asked = _text(table, member, prefix.removesuffix("."))
    if not asked:
        raise DocumentError(f"{prefix}{member}: is missing; name the handler to run")
    handler = find_handler(enabled, asked.removesuffix(".sh"), where=f"{prefix}{member}")
    args = _args(table, f"{prefix}args")
    path = _text(table, "path", prefix.removesuffix("."))
    _check_path(path, handler, f"{prefix}path", rules)
    if handler.directory:
        return command_step(handler, (*handler.argv, user, *args), name=name)
    _must_be_own(user, prefix.removesuffix(".input."), rules)
    return handler_step(handler, _params(handler.name, args, f"{prefix}args"), name=name)


def _check_path(path: str, handler: EnabledHandler, where: str, rules: Rules) -> None:
    if path in {"", _ANY_DIRECTORY}:
        return
    wanted = path.rstrip("/") or "/"
    if wanted not in rules.directories:
        raise DocumentError(f"{where}: is none of handlers.directories of this device; leave it out or add it there")
    if wanted != handler.directory:
        raise DocumentError(f"{where}: handler {shown(handler.name)} is not served from there; leave `path` out")


def _params(handler: str, args: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return the params that the args of a managed template stand for. A "" is an arg that the template left unset."""
    built_in = BUILT_INS.get(handler, BuiltIn(""))
    names = built_in.template_args
    params: dict[str, Any] = {name: value for name, value in zip(names, args, strict=False) if value}
    rest = args[len(names) :]
    if built_in.template_list:
        words = " ".join(rest).split()
        return params | ({built_in.template_list: words} if words else {})
    if any(rest):
        takes = f"at most {len(names)} args" if names else "no args; give it `params` beside `operation`"
        raise DocumentError(f"{where}: handler {shown(handler)} takes {takes}")
    return params


def _command(
    table: Mapping[str, Any], where: str, enabled: Mapping[str, EnabledHandler], rules: Rules, *, name: str
) -> Step:
    handler = find_handler(enabled, RUN_COMMAND, where=where.removesuffix(".input") + ".type")
    where = f"{where}.command"
    argv = _split(_text(table, "command", where.removesuffix(".command")), where)
    if not argv or not argv[0]:
        raise DocumentError(f"{where}: is empty; give a program and its arguments, separated by commas")
    _check_arguments(argv, where)
    return command_step(handler, (_allowed(argv[0], where, rules), *argv[1:]), name=name)


def _split(command: str, where: str) -> tuple[str, ...]:
    r"""Split a command at its commas, where `\,` is a literal comma; without separators, split it as a shell would."""
    parts = re.split(r"(?<!\\),", command)
    if len(parts) > 1:
        return tuple(part.strip().replace("\\,", ",") for part in parts)
    try:
        return tuple(shlex.split(command))
    except ValueError:
        raise DocumentError(f"{where}: has a quotation that does not end; close it") from None


def _allowed(program: str, where: str, rules: Rules) -> str:
    """Return the full path of a program in `[handler.run-command] programs`; `program` may be only its last part."""
    for listed in rules.programs:
        if program in {listed, listed.rpartition("/")[2]}:
            return listed
    raise DocumentError(
        f"{where}: program {shown(program)} is not allowed on this device; "
        "add its path to handler.run-command.programs in its configuration"
    )


def _user(action: Mapping[str, Any], where: str, rules: Rules) -> str:
    user = _text(action, "runAsUser", where)
    if user and user != rules.own_user and user not in rules.run_as_users:
        raise DocumentError(
            f"{where}.runAsUser: is not allowed on this device; leave it out or add that user to "
            "handlers.run_as_users in its configuration"
        )
    return user


def _must_be_own(user: str, where: str, rules: Rules) -> None:
    if user and user != rules.own_user:
        raise DocumentError(
            f"{where}.runAsUser: another user needs a privileged unit, as this step is not a script; leave it out"
        )


def _args(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    args = table.get("args")
    if args in (None, ""):
        return ()
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise DocumentError(f"{where}: is not an array of strings; write each argument as a string")
    _check_arguments(args, where)
    return tuple(args)


def _check_arguments(args: "tuple[str, ...] | list[str]", where: str) -> None:
    if any("\0" in arg for arg in args):
        raise DocumentError(f"{where}: holds a NUL character, which no program can be given; remove it")


def _object(value: object, where: str) -> dict[str, Any]:
    if value is None:
        raise DocumentError(f"{where}: is missing; add it")
    if not isinstance(value, dict):
        raise DocumentError(f"{where}: is not an object; write it as one")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"{where}.{key}: is not a string; write it as one".removeprefix("."))
    return value


def _flag(table: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    value = table.get(key)
    if value in (None, ""):
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise DocumentError(f"{where}: is neither true nor false; write one of them")


def _line_count(table: Mapping[str, Any], key: str, where: str) -> int | None:
    value = table.get(key)
    if value in (None, ""):
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise DocumentError(f"{where}: is not a number of lines; write a whole number, 0 or more")
