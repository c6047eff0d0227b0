"""The plain values of a configuration as JSON, and back. Knows nothing about files, and checks nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iot_jobs_agent.config.values import (
    Agent,
    Aws,
    Config,
    DocumentEntry,
    Handlers,
    HandlerTable,
    NamespaceEntry,
    Proxy,
)


def encoded(config: Config) -> Any:
    """Return the values as JSON has them.

    Raises:
        ValueError: `decoded` could not make the same of it, as of a date or of nan in a handler's table.
    """
    try:
        value = _encoded(config)
        if decoded(json.loads(json.dumps(value))) == config:
            return value
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    raise ValueError("the values are not the same as JSON")


def decoded(value: Any) -> Config:
    """Return what `encoded` has made JSON of. Raises TypeError, LookupError or ValueError for anything else."""
    aws, agent, handlers = value["aws"], value["agent"], value["handlers"]
    files = {key: Path(aws[key]) for key in ("certificate", "private_key", "root_ca")}
    proxy = None if aws["proxy"] is None else Proxy(**aws["proxy"])
    lists = {key: tuple(handlers[key]) for key in ("enabled", "run_as_users")}
    return Config(
        aws=Aws(**{**aws, **files, "proxy": proxy}),
        agent=Agent(
            **{
                **agent,
                "state_directory": Path(agent["state_directory"]),
                "reboot_command": tuple(agent["reboot_command"]),
            }
        ),
        handlers=Handlers(**{**handlers, **lists, "directories": tuple(map(Path, handlers["directories"]))}),
        namespaces=tuple(NamespaceEntry(**entry) for entry in value["namespaces"]),
        handler=MappingProxyType({name: _handler_table(table) for name, table in value["handler"].items()}),
        operations=MappingProxyType(value["operations"]),
        documents=tuple(DocumentEntry(**entry) for entry in value["documents"]),
    )


def _handler_table(table: Mapping[str, Any]) -> HandlerTable:
    overrides, settings = MappingProxyType(table["overrides"]), MappingProxyType(table["settings"])
    return HandlerTable(overrides, settings, table["profile"])


def _encoded(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: _encoded(each) for key, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {key: _encoded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    return str(value) if isinstance(value, Path) else value
