"""Writes a first configuration, and changes single values of `[aws]` in one that people have edited since.

Owns the text of the first configuration. Knows nothing about files; what the values may be is in `config.keys`.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

CREDENTIALS = {  # the key in [aws], and the file's name in the directory that ${CREDENTIALS_DIRECTORY} stands for
    "certificate": "certificate.pem",
    "private_key": "private.key",
    "root_ca": "root-ca.pem",
}
Value = str | int
_AWS = re.compile(r"^[ \t]*\[aws\][^\n]*\n?", re.MULTILINE)
_NEXT_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_FIRST = """\
# What this device is to AWS IoT, and what jobs may do here. iot-jobs-agent.toml(5) explains every key.
# After a change: sudo iot-jobs-agent check && sudo systemctl restart iot-jobs-agent

[aws]
{aws}
[handlers]
# Nothing runs unless it is named here.
enabled = ["run-command"]
directories = ["/etc/iot-jobs-agent/handlers"]
{launcher}
[handler.run-command]
# The programs that jobs may run.
programs = ["/usr/bin/uptime"]
"""


def first_configuration(values: Mapping[str, Value], *, has_units: bool) -> str:
    """Return the text of a configuration with these values in `[aws]`, in which one harmless program may run.

    `has_units` says that this device has the templates for handlers' own units, which are used then.
    """
    launcher = '# Each handler runs in a unit and as a user of its own.\nlauncher = "units"\n' if has_units else ""
    files = {key: f"${{CREDENTIALS_DIRECTORY}}/{name}" for key, name in CREDENTIALS.items()}
    return _FIRST.format(
        launcher=launcher, aws="".join(_line(key, value) for key, value in {**values, **files}.items())
    )


def aws_values(text: str) -> Mapping[str, Any]:
    """Return what a configuration's text has in `[aws]`. Raises ValueError if it is not valid TOML."""
    table = tomllib.loads(text).get("aws", {})
    return table if isinstance(table, dict) else {}


def with_values(text: str, values: Mapping[str, Value]) -> str:
    """Return a configuration's text with other values in `[aws]`, and everything else as it was.

    Raises:
        ValueError: it is written in a way that this cannot change safely, such as `aws.port = 443` at its top.
    """
    header = _AWS.search(text)
    if header is None:
        raise ValueError("it has no line [aws]")
    start = header.end()
    end = start + match.start() if (match := _NEXT_TABLE.search(text[start:])) else len(text)
    table = text[start:end]
    for key, value in values.items():
        old = re.search(rf"^[ \t]*{key}[ \t]*=[^\n]*\n?", table, re.MULTILINE)
        first, last = old.span() if old else (0, 0)
        table = f"{table[:first]}{_line(key, value)}{table[last:]}"
    head = text[:start].removesuffix("\n")
    changed = f"{head}\n{table}{text[end:]}"
    if _parsed(changed) != tomllib.loads(text) | {"aws": {**aws_values(text), **values}}:
        raise ValueError("its [aws] is written in an unusual way")
    return changed


def _line(key: str, value: Value) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}\n"


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
