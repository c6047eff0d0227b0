"""Reads the members of AWS's documents, each by its type, and refuses members that must not be dropped.

A member that a template leaves unset arrives as "" or not at all, so both mean that it is absent. Unknown members are
ignored, as AWS's own agent does, with two exceptions: misspelt ones, and those that would change what runs. Pure.
"""

import json
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from iot_jobs_agent.errors import DocumentError
from iot_jobs_agent.json_words import is_word, kind_of

_LONGEST_KEY = 64
_MOST_LETTERS = 2  # by which a misspelt name is longer or shorter
_COMMENTS = frozenset({"comment", "description"})
_DEVICE_TIMEOUT = "leave it out, and set timeout_s in [handler.NAME] on the device"
_LEAVE_OUT = "leave it out"
_CONDITIONS = "leave it out, or write `conditions` beside `steps`"
_IGNORE_FAILURE = "leave it out, or write `ignoreStepFailure` into the `action` of a step"
_MORE_STEPS = "leave it out, or write further `steps` or a `finalStep`"
# Members that other agents know, or that people expect to work, spelt without case, `_` and `-`.
_CHANGES_WHAT_RUNS: Mapping[str, str] = {
    **dict.fromkeys(("arg", "args", "argument", "arguments", "argv", "param", "parameter"), ""),
    **dict.fromkeys(("parameters", "params"), ""),
    **dict.fromkeys(("timeout", "timeouts", "timeoutinseconds", "timeoutms", "timeoutseconds"), _DEVICE_TIMEOUT),
    **dict.fromkeys(("env", "environment", "environmentvariables", "envvars", "variables"), _LEAVE_OUT),
    **dict.fromkeys(("chdir", "cwd", "directory", "dir", "workdir", "workingdir", "workingdirectory"), _LEAVE_OUT),
    **dict.fromkeys(("group", "runas", "sudo", "user", "username", "umask"), _LEAVE_OUT),
    **dict.fromkeys(("cmd", "command", "exec", "handler", "interpreter", "program", "script", "shell"), _LEAVE_OUT),
    **dict.fromkeys(("input", "retries", "retry", "stdin"), _LEAVE_OUT),
    **dict.fromkeys(("conditions", "finalstep", "steps"), "write it beside `steps`, or leave it out"),
    **dict.fromkeys(("condition", "if", "only", "onlyif", "unless", "when"), _CONDITIONS),
    **dict.fromkeys(("allowstderr", "ignorestepfailure", "runasuser"), "write it into the `action` of a step"),
    **dict.fromkeys(("continueonerror", "continueonfailure", "ignoreerrors", "ignorefailure"), _IGNORE_FAILURE),
    **dict.fromkeys(("onerror", "onfailure"), _IGNORE_FAILURE),
    "includestdout": "write it beside `steps`",
    **dict.fromkeys(("cleanup", "finally", "poststep", "poststeps", "prestep", "presteps"), _MORE_STEPS),
    **dict.fromkeys(("delay", "disabled", "dryrun", "enabled", "parallel", "simulate", "skip"), _LEAVE_OUT),
}
_PARTS: Mapping[str, str] = {  # of longer names, such as timeoutInMinutes, maxRetries, rebootRequired
    "timeout": _DEVICE_TIMEOUT,
    **dict.fromkeys(("environment", "reboot", "retries", "retry", "rollback"), _LEAVE_OUT),
}


def check_members(
    table: Mapping[str, Any],
    known: frozenset[str],
    where: str,
    *,
    arguments: str,
    is_strict: bool = False,
    params: Collection[str] = (),
) -> None:
    """Refuse an unknown member that would change what runs, or is a misspelling of one of `known`.

    `arguments` says what to do about one that holds arguments, or is one of the `params` of the handler. With
    `is_strict`, every unknown member is refused except comments.

    Raises:
        DocumentError: it names the member and the fix.
    """
    for key, value in table.items():
        if key in known or key.startswith("_") or value in (None, ""):
            continue
        plain = _plain(key)
        member = member_path(where, key)
        if close := near_member(key, known):
            raise DocumentError(f"{member}: is not known here; if it means `{close}`, spell it so, else leave it out")
        fix = arguments if key in params else _fix_of(plain)
        if fix is not None:
            raise DocumentError(f"{member}: would change what runs, but this form does not have it; {fix or arguments}")
        if is_strict and plain not in _COMMENTS:
            named = f"{member}: is" if is_word(key) else f"{where}: has a member that is"
            raise DocumentError(f"{named} not known here and might change what runs; leave it out")


def member_path(where: str, key: str) -> str:
    """Return the path of a member, made safe to show: ASCII, printable, short."""
    shown = json.dumps(key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}...")[1:-1]
    return f"{where}.{shown}" if where else shown


def object_of(value: object, where: str) -> dict[str, Any]:
    """Return a member that must be an object. DocumentError if it is missing or something else."""
    if value is None:
        raise DocumentError(f"{where}: is missing; add it")
    if not isinstance(value, dict):
        raise DocumentError(f"{where}: is not an object; write it as one")
    return value


def text_of(table: Mapping[str, Any], key: str, where: str) -> str:
    """Return a member that must be a string, "" if it is absent. DocumentError if it is something else."""
    value = table.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"{member_path(where, key)}: is not a string; write it as one")
    return value


def flag_of(table: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    """Return a member that is true or false, as a boolean or as a string. DocumentError if it is something else."""
    value = table.get(key)
    if value in (None, ""):
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise DocumentError(f"{member_path(where, key)}: is neither true nor false; write one of them")


def line_count_of(table: Mapping[str, Any], key: str, where: str) -> int | None:
    """Return a member that is a number of lines, None if it is absent. DocumentError if it is something else."""
    value = table.get(key)
    if value in (None, ""):
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise DocumentError(f"{member_path(where, key)}: is not a number of lines; write a whole number, 0 or more")


def args_of(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the member `args`, () if it is absent. DocumentError if it is not an array of strings."""
    args = table.get("args")
    member = member_path(where, "args")
    if args in (None, ""):
        return ()
    if not isinstance(args, list):
        raise DocumentError(f"{member}: is not an array of strings; write each argument as a string in an array")
    for index, arg in enumerate(args):
        if not isinstance(arg, str):
            raise DocumentError(
                f"{member}: is not an array of strings, since args[{index}] is {kind_of(arg)}; "
                "put it in quotation marks"
            )
    check_arguments(args, member)
    return tuple(args)


def check_arguments(args: Collection[str], where: str) -> None:
    """Refuse an argument that no program can be given."""
    if any("\0" in arg for arg in args):
        raise DocumentError(f"{where}: holds a NUL character, which no program can be given; remove it")


def _fix_of(plain: str) -> str | None:
    """Return what to do about a member that would change what runs, "" if it holds arguments; None if it would not."""
    if plain in _CHANGES_WHAT_RUNS:
        return _CHANGES_WHAT_RUNS[plain]
    return next((fix for part, fix in _PARTS.items() if part in plain), None)


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


@lru_cache(maxsize=16)
def _spellings(known: frozenset[str]) -> tuple[tuple[str, frozenset[str], str], ...]:
    return tuple((spelling := _plain(name), frozenset(spelling), name) for name in sorted(known))


def near_member(key: str, known: frozenset[str]) -> str:
    """Return the known member of which `key` is probably a misspelling, or ""."""
    plain = _plain(key)
    letters = set(plain)
    similar = {
        spelling: name
        for spelling, its_letters, name in _spellings(known)
        if abs(len(plain) - len(spelling)) <= _MOST_LETTERS and len(letters ^ its_letters) <= _MOST_LETTERS + 1
    }
    if not similar:  # which is quick: a document may have thousands of members
        return ""
    slips = [spelling for spelling in similar if _is_one_slip(plain, spelling)]
    if slips:
        return similar[slips[0]]
    from difflib import get_close_matches  # noqa: PLC0415 - takes 0.2 MB, and only a member that is nearly known needs it

    close = get_close_matches(plain, similar, n=1, cutoff=0.8)
    return similar[close[0]] if close else ""


def _is_one_slip(plain: str, spelling: str) -> bool:
    """Tell whether one letter too many, one too few, another letter, or two in the wrong order make the difference."""
    short, long = sorted((plain, spelling), key=len)
    at = next((index for index, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short))
    if len(long) > len(short):
        return short[at:] == long[at + 1 :]
    is_swapped = short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    return is_swapped or short[at + 1 :] == long[at + 1 :]
