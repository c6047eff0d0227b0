"""docs/builtins.md has the parameters that the built-ins take, no more and no less."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.handler import Handler

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "builtins.md").read_text()


def built_in(name: str) -> Handler:  # type: ignore[type-arg] # of any params
    module, _, attribute = BUILT_INS[name].spec.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Handler)
    return found


def table(handler: Handler) -> str:  # type: ignore[type-arg] # of any params
    """Make the table as the page should have it."""
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for name, field in handler.params.model_fields.items():
        assert field.description, f"{handler.name}: {name} has no description"
        default = "required" if field.is_required() else "" if field.default is None else json.dumps(field.default)
        rows.append(
            f"| `{name}` | {f'`{default}`' if default not in {'', 'required'} else default} | {field.description} |"
        )
    return "\n".join(rows)


def section(name: str) -> str:
    found = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {name}"
    return found[1]


@pytest.mark.parametrize("name", BUILT_INS)
def test_the_page_has_the_parameters_of_every_built_in(name: str) -> None:
    handler = built_in(name)
    assert handler.name == name
    expected = table(handler) if handler.params.model_fields else "It takes no parameters."
    assert expected in section(name), f"write:\n{expected}"


@pytest.mark.parametrize("name", BUILT_INS)
def test_the_settings_on_the_page_are_those_of_the_example(name: str) -> None:
    example = (ROOT / "config.example.toml").read_text()
    block = re.search(rf"^\[handler\.{name}\]\n(.*?)(?=^\[|\Z)", example, re.MULTILINE | re.DOTALL)
    assert block, f"no [handler.{name}] in config.example.toml"
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", block[1], re.MULTILINE)) - {"timeout_s"}
    assert keys
    assert {key for key in keys if f"`{key}`" not in section(name)} == set()


def test_the_example_with_all_comments_taken_away_is_toml_still() -> None:
    example = (ROOT / "config.example.toml").read_text()
    handlers = example[example.index("[handler.run-command]") :]
    tables = tomllib.loads(re.sub(r"^# ([a-z_]+ = )", r"\1", handlers, flags=re.MULTILINE))["handler"]
    assert set(BUILT_INS) <= tables.keys()


def test_the_page_has_no_section_of_something_else() -> None:
    assert re.findall(r"^## ([a-z-]+)$", PAGE, re.MULTILINE) == sorted(BUILT_INS)
