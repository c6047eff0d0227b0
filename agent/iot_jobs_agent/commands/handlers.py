"""`iot-jobs-agent handlers`: lists the handlers that exist, which of them may run, and the params that they take."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.manifests import DESCRIBE_LINE, needs_line
from iot_jobs_agent.catalog.sources import BUILT_IN, Source
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import table
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.documents.enabled_handler import EnabledHandler
from iot_jobs_agent.state.owner import become_owner


def main(arguments: Sequence[str]) -> int:
    """Print one line per handler, followed by its params if it is enabled, and by what is wrong. Return 0."""
    chosen = parser().parse_args(arguments)
    is_default = chosen.config == options.DEFAULT_CONFIG and not chosen.config.exists()
    config = load_handlers(None if is_default else chosen.config)
    become_owner(config.agent.state_directory)
    catalog = Catalog(config)
    asyncio.run(catalog.refresh())
    enabled = catalog.enabled()
    listed = [_facts(source, enabled.get(name)) for name, source in catalog.known().items()]
    print(json.dumps(listed, indent=2) if chosen.json else _text(listed))
    if is_default and not chosen.json:
        print(f"\nno handler is enabled: there is no {chosen.config}; --config names another")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("handlers")
    options.add_config(made)
    options.add_json(made)
    return made


def _facts(source: Source, handler: EnabledHandler | None) -> dict[str, Any]:
    unavailable = handler.unavailable if handler else source.unavailable
    described = handler if handler and not unavailable else None
    return {
        "name": source.name,
        "enabled": handler is not None,
        "source": source.origin.removesuffix(f" {_version(source)}"),
        "version": _version(source),
        "summary": described.summary if described else "",
        "params": dict(described.params) if described else None,
        "unavailable": unavailable,
        "advice": _advice(source),
    }


def _advice(source: Source) -> str:
    if source.path is None or source.spec or not needs_line(source.path):
        return ""
    return f"it is asked for its manifest since it has the word describe: say so with a line `{DESCRIBE_LINE}`"


def _version(source: Source) -> str:
    """Return the version of the package that the handler comes from; "" for a file."""
    return version("iot-jobs-agent") if source.origin == BUILT_IN else source.version.rpartition(" ")[2]


def _text(listed: list[dict[str, Any]]) -> str:
    rows = [("NAME", "ENABLED", "VERSION", "SOURCE")]
    rows += [(each["name"], _yes(each["enabled"]), each["version"] or "-", each["source"]) for each in listed]
    below = [[], *(_details_of(each) for each in listed)]
    return "\n".join(line for head, more in zip(table(rows, None), below, strict=True) for line in (head, *more))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _details_of(each: dict[str, Any]) -> list[str]:
    lines = [each["summary"]] if each["summary"] else []
    lines += params_in_words(each["params"]) if each["params"] else []
    lines += [f"unavailable: {each['unavailable']}"] if each["unavailable"] else []
    lines += [f"advice: {each['advice']}"] if each["advice"] else []
    return [f"    {''.join(each if each.isprintable() else ' ' for each in line)}" for line in lines]


def params_in_words(schema: dict[str, Any]) -> list[str]:
    """Return a line per param of a JSON Schema: name, type, required or not, description. Accepts any object."""
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, dict):
        return []
    return [
        f"{name}: {', '.join(_property(each, is_required=isinstance(required, list) and name in required))}"
        for name, each in properties.items()
        if isinstance(each, dict)
    ]


def _property(each: dict[str, Any], *, is_required: bool) -> list[str]:
    kinds = [each, *(other for other in each.get("anyOf") or [] if isinstance(other, dict))]
    kind = " or ".join(str(one["type"]) for one in kinds if "type" in one)
    default = f"default {json.dumps(each['default'])}" if "default" in each else "optional"
    words = [kind or "any", "required" if is_required else default, str(each.get("description", ""))]
    return [word for word in words if word]
