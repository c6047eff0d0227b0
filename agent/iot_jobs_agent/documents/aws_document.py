"""AWS's two forms of job document: schema 1.0 with `steps`, and the older one with `operation` and `args`.

Source: AWS IoT developer guide, "Managed job templates", and the schema of the AWS IoT Device Client. The console
produces such documents from templates. Which members are read as what, and which unknown ones are refused, is in
`documents.members`. Pure.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from iot_jobs_agent.built_ins import BUILT_INS, RUN_COMMAND, BuiltIn
from iot_jobs_agent.core.job import Plan, Step
from iot_jobs_agent.device import USER_NAME
from iot_jobs_agent.documents.enabled_handler import (
    EnabledHandler,
    Rules,
    command_step,
    declared_params,
    find_handler,
    handler_step,
    shown,
)
from iot_jobs_agent.documents.members import (
    args_of,
    check_arguments,
    check_members,
    flag_of,
    line_count_of,
    member_path,
    object_of,
    text_of,
)
from iot_jobs_agent.errors import DocumentError, ForeignDocumentError, UnknownHandlerError
from iot_jobs_agent.json_words import is_word, kind_of

OLDER_FORM = frozenset({"operation", "args", "path", "allowStdErr", "includeStdOut", "runAsUser"})
_VERSION = "1.0"
_LONGEST_NAME = 64
_MOST_NAMED = 3  # unknown members in one reason
_ANY_DIRECTORY = "default"  # as a `path`: the usual directory of handlers
_STEPS_FORM = frozenset({"version", "steps", "finalStep", "includeStdOut", "conditions", "operation"})
_ACTION = frozenset({"name", "type", "input", "runAsUser", "allowStdErr", "ignoreStepFailure"})
_STEP = frozenset({"action"})
_TYPES = ("runHandler", "runCommand")
_CONDITION = frozenset({"key", "value", "type"})
_HANDLER_INPUT = frozenset({"handler", "args", "path"})
_COMMAND_INPUT = frozenset({"command"})
_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_SHELL_SYNTAX = re.compile(r"(?:^|\s)(&&?|\|[|&]?|;|\d*(?:>>|[<>]))(?=\s|$|&?[\w/.])|(?<=\w);(?=\s|$)|\$[({A-Za-z_]|`")
_AS_ARGS = "write the arguments as `args`, an array of strings"
_IN_COMMAND = "write the arguments into `command`, separated by commas"
_IN_INPUT = "write the arguments into the `input` of each action"
_ARGS_OR_PARAMS = "give either `args`, or `params` beside an `operation` without .sh and without `args`"


class _Place(NamedTuple):
    """An object of a document, and the path by which reasons call its members, "" for the whole document."""

    table: Mapping[str, Any]
    where: str


def plan_of_steps(document: Mapping[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document of schema 1.0, with every step judged.

    Raises:
        ForeignDocumentError: its steps are those of another schema or version.
        DocumentError: it names the first member that cannot be accepted.
    """
    _check_version(document)
    if not document["steps"]:
        raise DocumentError("steps: is empty; give at least one step")
    check_members(document, _STEPS_FORM, "", arguments=_IN_INPUT)
    _check_conditions(document, rules.device)
    include_stdout = flag_of(document, "includeStdOut", "", default=True)
    try:
        steps = _read_steps(document, enabled, rules)
    except UnknownHandlerError:
        raise
    except ForeignDocumentError as error:
        if any(map(_is_known_action, document["steps"])):  # then it is ours, with a mistake in it
            raise DocumentError(str(error)) from None
        raise
    return Plan(steps=tuple(replace(step, include_stdout=include_stdout) for step in steps))


def _read_steps(document: Mapping[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> list[Step]:
    steps = [
        _read_step(item, f"steps[{index}]", enabled, rules, name=f"step-{index + 1}")
        for index, item in enumerate(document["steps"])
    ]
    final = document.get("finalStep")
    if final not in (None, "", {}):
        if not isinstance(final, dict):
            raise DocumentError(f"finalStep: is {kind_of(final)}; write one step, an object with `action`")
        steps.append(_read_step(final, "finalStep", enabled, rules, name="final-step"))
    return steps


def plan_of_operation(document: Mapping[str, Any], enabled: Mapping[str, EnabledHandler], rules: Rules) -> Plan:
    """Return the plan of a document of the older schema: one handler, with arguments.

    Without `allowStdErr`, no line on stderr is allowed, as AWS defines it.

    Raises:
        DocumentError: it names the member that cannot be accepted.
    """
    whole = _Place(document, "")
    step = _handler(whole, "operation", whole, enabled, rules, name="")
    return Plan(
        steps=(
            replace(
                step,
                allow_stderr=line_count_of(document, "allowStdErr", "") or 0,
                include_stdout=flag_of(document, "includeStdOut", "", default=True),
            ),
        )
    )


def _check_version(document: Mapping[str, Any]) -> None:
    """Refuse every version but "1.0". A document that does not say a version may be another agent's."""
    version = document.get("version")
    if version in (None, ""):
        raise ForeignDocumentError(f'version: is missing; write "version": "{_VERSION}"')
    if not isinstance(version, str):
        refused = DocumentError if any(map(_is_action, document["steps"])) else ForeignDocumentError
        raise refused(f'version: is {kind_of(version)} where a string belongs; write "version": "{_VERSION}"')
    if version != _VERSION:
        raise ForeignDocumentError(
            f'version: is not "{_VERSION}", the only one known here; write "version": "{_VERSION}"'
        )


def _is_action(step: object) -> bool:
    """Tell whether this is a step of AWS's schema, right or wrong."""
    action = step.get("action") if isinstance(step, dict) else None
    return isinstance(action, dict) and ("type" in action or "input" in action)


def _is_known_action(step: object) -> bool:
    return _is_action(step) and step["action"].get("type") in _TYPES  # type: ignore[index]  # it is a dict with a dict


def _check_conditions(document: Mapping[str, Any], device: Mapping[str, str]) -> None:
    """Refuse the document unless every condition holds: the device's fact must equal one of the condition's values."""
    conditions = document.get("conditions")
    if conditions in (None, ""):
        return
    if not isinstance(conditions, list):
        raise DocumentError("conditions: is not an array; write one of objects with `key`, `value` and `type`")
    for index, item in enumerate(conditions):
        where = f"conditions[{index}]"
        condition = object_of(item, where)
        check_members(condition, _CONDITION, where, arguments="leave it out", is_strict=True)
        if (kind := text_of(condition, "type", where)) not in {"", "stringEqual"}:
            raise DocumentError(f'{where}.type: {shown(kind)} is not known here; use "stringEqual"')
        if (key := text_of(condition, "key", where)) not in device:
            raise DocumentError(f"{where}.key: {shown(key)} is not known here; use one of {', '.join(device)}")
        values = condition.get("value")
        if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
            raise DocumentError(f"{where}.value: is not an array of words; give the values of which one has to fit")
        if device[key] not in values:
            raise DocumentError(
                f"{where}: {key} of this device is {shown(device[key])}, which is none of its values; "
                "target the job at things that fit, or add the value"
            )


def _read_step(item: Any, where: str, enabled: Mapping[str, EnabledHandler], rules: Rules, *, name: str) -> Step:
    action = _action(item, f"{where}.action")
    check_members(item, _STEP, where, arguments=_IN_INPUT)
    where = f"{where}.action"
    name = re.sub(r"[^\w .:-]", "-", text_of(action, "name", where), flags=re.ASCII)[:_LONGEST_NAME] or name
    outer = _Place(action, where)
    given = _Place(object_of(action.get("input"), f"{where}.input"), f"{where}.input")
    match action.get("type"):
        case "runHandler":
            step = _handler(given, "handler", outer, enabled, rules, name=name)
        case "runCommand":
            step = _command(given, outer, enabled, rules, name=name)
        case other:
            refused = ForeignDocumentError if isinstance(other, str) and other else DocumentError
            raise refused(f'{where}.type: is neither "runHandler" nor "runCommand"; use one of them')
    check_members(action, _ACTION, where, arguments=_IN_INPUT)
    return replace(
        step,
        allow_stderr=line_count_of(action, "allowStdErr", where),
        ignore_failure=flag_of(action, "ignoreStepFailure", where, default=False),
    )


def _action(item: object, where: str) -> dict[str, Any]:
    found = item.get("action") if isinstance(item, dict) else None
    if found is None:
        raise ForeignDocumentError(f"{where}: is missing; add it as an object, with `type` and `input` inside it")
    action = object_of(found, where)
    if not _is_action(item):
        unknown = [key for key in action if key not in _ACTION and is_word(key)]
        named = " and ".join(unknown[:_MOST_NAMED])
        instead = f" in place of {named}" if named else ""
        raise ForeignDocumentError(f"{where}: has neither `type` nor `input`; write both{instead}")
    return action


def _handler(
    given: _Place, member: str, outer: _Place, enabled: Mapping[str, EnabledHandler], rules: Rules, *, name: str
) -> Step:
    """Return the step for a handler: a script as a plain command, or a Python handler with its args as params.

    `given` has the handler's name, as `member`, and its args; `outer` has `runAsUser`.
    """
    table, where = given
    asked = text_of(table, member, where)
    if not asked:
        raise DocumentError(f"{member_path(where, member)}: is missing; name the handler to run")
    handler = find_handler(enabled, asked, where=member_path(where, member), operations=rules.operations)
    if given is outer:
        check_members(table, OLDER_FORM, where, arguments=_ARGS_OR_PARAMS, params=declared_params(handler))
    else:
        check_members(table, _HANDLER_INPUT, where, arguments=_AS_ARGS, is_strict=True)
    user = _user(outer, rules)
    args = args_of(table, where)
    _check_path(text_of(table, "path", where), handler, member_path(where, "path"), rules)
    if handler.directory:
        step = command_step(handler, (*handler.argv, user, *args), name=name)
    else:
        _must_be_possible(user, outer.where, rules)
        step = handler_step(handler, _params(handler.name, args, member_path(where, "args")), name=name)
    return replace(step, user=_unit_user(user, handler.name, outer.where, rules))


def _check_path(path: str, handler: EnabledHandler, where: str, rules: Rules) -> None:
    if path in {"", _ANY_DIRECTORY}:
        return
    if not path.startswith("/"):
        raise DocumentError(f"{where}: is not an absolute path; leave it out, or give one of handlers.directories")
    wanted = path.rstrip("/") or "/"
    if wanted not in rules.directories:
        raise DocumentError(f"{where}: is none of handlers.directories of this device; leave it out")
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


def _command(given: _Place, outer: _Place, enabled: Mapping[str, EnabledHandler], rules: Rules, *, name: str) -> Step:
    handler = find_handler(enabled, RUN_COMMAND, where=f"{outer.where}.type")
    check_members(given.table, _COMMAND_INPUT, given.where, arguments=_IN_COMMAND, is_strict=True)
    user = _user(outer, rules)
    _must_be_possible(user, outer.where, rules)
    argv = _argv(*given)
    where = f"{given.where}.command"
    if not argv or not argv[0]:
        raise DocumentError(f"{where}: is empty; give a program and its arguments, separated by commas")
    check_arguments(argv, where)
    step = command_step(handler, (_allowed(argv[0], where, rules), *argv[1:]), name=name)
    return replace(step, user=_unit_user(user, handler.name, outer.where, rules))


def _argv(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if isinstance(table.get("command"), list):
        raise DocumentError(
            f"{where}.command: is not a string but an array; write the program and its arguments into one string, "
            "separated by commas"
        )
    return _split(text_of(table, "command", where), f"{where}.command")


def _split(command: str, where: str) -> tuple[str, ...]:
    r"""Split a command at its commas, where `\,` is a literal comma; without separators, split it as a shell would."""
    parts = re.split(r"(?<!\\),", command)
    if len(parts) > 1:
        return tuple(part.strip().replace("\\,", ",") for part in parts)
    try:
        words = tuple(shlex.split(command))
    except ValueError:
        raise DocumentError(f"{where}: has a quotation that does not end; close it") from None
    if found := _SHELL_SYNTAX.search(_QUOTED.sub("_", command)):
        raise DocumentError(
            f"{where}: holds {shown(found[0].strip())}, which only a shell obeys, and there is none; write one step "
            "for each command, or a script; if it is meant as text, put it in quotation marks"
        )
    return words


def _allowed(program: str, where: str, rules: Rules) -> str:
    """Return the full path of a program in `[handler.run-command] programs`; `program` may be only its last part.

    The reason for refusing names nothing beyond the first white space: what follows may be arguments with a secret.
    """
    for listed in rules.programs:
        if program in {listed, listed.rpartition("/")[2]}:
            return listed
    first, *more = program.split(maxsplit=1) or [""]
    comma = "; if it is listed, put a comma between it and its first argument" if more else ""
    raise DocumentError(
        f"{where}: program {shown(first)} is not allowed on this device; "
        f"add its path to handler.run-command.programs in its configuration{comma}"
    )


def _user(outer: _Place, rules: Rules) -> str:
    user = text_of(outer.table, "runAsUser", outer.where)
    if user and user != rules.own_user and user not in rules.run_as_users:
        fix = "leave it out"
        if re.fullmatch(USER_NAME, user):
            fix += " or add that user to handlers.run_as_users in its configuration"
        raise DocumentError(f"{member_path(outer.where, 'runAsUser')}: is not allowed on this device; {fix}")
    return user


def _unit_user(user: str, handler: str, where: str, rules: Rules) -> str:
    """Return the user in whose unit a step runs, "" if `runAsUser` does not change that."""
    if user in {"", rules.own_user} or not rules.has_units:
        return ""
    if handler in rules.profiles:
        raise DocumentError(
            f"{member_path(where, 'runAsUser')}: handler {shown(handler)} has a profile of its own, which says as whom "
            f"it runs; leave it out, or remove `profile` from [handler.{shown(handler)}] in the device's configuration"
        )
    return user


def _must_be_possible(user: str, where: str, rules: Rules) -> None:
    """Refuse another user's step that is not a script, where nothing can run as another user."""
    if user not in {"", rules.own_user} and not rules.has_units:
        raise DocumentError(
            f"{member_path(where, 'runAsUser')}: another user needs a privileged unit, as this step is not a script; "
            "leave it out"
        )
