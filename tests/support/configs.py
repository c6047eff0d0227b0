"""Configurations for tests: as the agent holds them, and as files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.config.config import load, problems
from iot_jobs_agent.config.keys import ConfigFile
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.errors import ConfigError

NOWHERE = {  # [aws] where nothing is connected
    "endpoint": "localhost",
    "thing_name": "thing-1",
    **dict.fromkeys(("certificate", "private_key", "root_ca"), "/nonexistent"),
}


def config_of(state_directory: Path, **tables: Any) -> Config:
    """Return a configuration with these tables; what needs no connection may leave out [aws]."""
    agent = {"state_directory": str(state_directory), **tables.pop("agent", {})}
    return ConfigFile.model_validate({"aws": NOWHERE, "agent": agent, **tables}).values()


def toml_of(tables: Mapping[str, Any]) -> str:
    """Write tables as TOML: a list is an array of tables, and values are those that JSON spells alike."""
    lines = []
    for name, table in tables.items():
        for keys in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def aws_of(simulator: Any, thing_name: str) -> dict[str, Any]:
    """Return [aws] for a thing of a running simulator."""
    return {
        "endpoint": "localhost",
        "port": simulator.mqtts_port,
        "https_port": simulator.https_port,
        "thing_name": thing_name,
        "certificate": str(simulator.certificates / "client.pem"),
        "private_key": str(simulator.certificates / "client.key"),
        "root_ca": str(simulator.certificates / "ca.pem"),
    }


def write(directory: Path, *, aws: str = "", rest: str = "", drop: str = "") -> Path:
    """Write a configuration with the three files of `directory`. `aws` are lines that it has besides, or instead."""
    keys = {
        "endpoint": '"a1b2-ats.iot.eu-west-1.amazonaws.com"',
        "thing_name": '"pi-kitchen-1"',
        "certificate": f'"{directory}/certificate.pem"',
        "private_key": f'"{directory}/private.key"',
        "root_ca": f'"{directory}/root-ca.pem"',
    }
    for line in aws.splitlines():
        key, _, value = line.partition("=")
        keys[key.strip()] = value.strip()
    keys.pop(drop, None)
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    path = directory / "config.toml"
    path.write_text(f"[aws]\n{lines}\n{rest}\n")
    return path


def refusal(path: Path, environ: dict[str, str] | None = None) -> str:
    """Return the one sentence with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    message = str(caught.value)
    assert problems(path, environ or {})[0] == message
    assert "\n" not in message
    asks = re.fullmatch(r"[^?]+\. Did you mean \S+\?", message)
    assert asks or (message.endswith(".") and "; " in message), "a fix follows the fault"
    return message
