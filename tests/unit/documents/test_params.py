"""The params of an executable against the schema that its manifest declares: which field, what is wrong, no value."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import StepKind
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import DocumentRule, Namespace, Rules
from iot_jobs_agent.documents.params import params_problem, schema_problem
from iot_jobs_agent.errors import DocumentError

CANARY = "canary-1f3a"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mb": {"type": "integer", "minimum": 1, "maximum": 10},
        "mode": {"enum": ["fast", "safe"]},
        "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
        "max-age": {"type": ["integer", "null"]},
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "never": False,
    },
    "$defs": {"file": {"type": "object", "required": ["url"], "properties": {"url-2": {"type": "string"}}}},
    "required": ["mb"],
    "additionalProperties": False,
}
COUNT = enabled_handler("count", ("/opt/count",), directory="/opt", params=SCHEMA)
PYTHON = enabled_handler("python", ("worker", "python"), params=SCHEMA)
ENABLED = {each.name: each for each in (COUNT, PYTHON)}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"mb": 3, "mode": "fast", "files": [{"url": "u"}], "max-age": None, "name": "a", "labels": {"a": "b"}}, ""),
        ({"mb": 3.0}, ""),
        ({"mb": 10**300}, 'params.mb: does not fit "maximum": 10 of the handler\'s schema; correct it'),
        ({"mb": CANARY}, "params.mb: should be a whole number, and is a string"),
        ({"mb": 1.5}, "params.mb: should be a whole number, and is a number with a fraction"),
        ({"mb": True}, "params.mb: should be a whole number, and is a boolean"),
        ({"mb": 0}, 'params.mb: does not fit "minimum": 1 of the handler\'s schema; correct it'),
        ({}, "params.mb: is missing; add it"),
        (
            {"mb": 1, "mode": CANARY},
            'params.mode: does not fit "enum": ["fast", "safe"] of the handler\'s schema; correct it',
        ),
        ({"mb": 1, "max-age": CANARY}, "params.max-age: should be a whole number or null, and is a string"),
        ({"mb": 1, "files": [{"url": 1}, {}]}, "params.files[1].url: is missing; add it"),
        ({"mb": 1, "files": [{"url": 1, "url-2": 5}]}, "params.files[0].url-2: should be a string, and is a number"),
        (
            {"mb": 1, "name": CANARY},
            'params.name: does not fit "pattern": "^[a-z]+$" of the handler\'s schema; correct it',
        ),
        ({"mb": 1, "labels": {CANARY: 5}}, "params.labels.*: should be a string, and is a number"),
        ({"mb": 1, "mbb": CANARY}, "params.mbb: is not known to the handler; leave it out"),
        (
            {"mb": 1, "more": 1, CANARY: 1},
            "params: has members that are not known to the handler (more); leave them out",
        ),
        ({"mb": 1, CANARY: 1}, "params: has members that are not known to the handler; leave them out"),
        ({"mb": 1, "never": 1}, "params.never: is not allowed; leave it out"),
    ],
)
def test_field_e8_params_that_do_not_fit_are_named_by_field_without_their_value(
    params: dict[str, Any], problem: str
) -> None:
    found = params_problem(SCHEMA, params)
    assert found == problem
    assert CANARY not in found


@pytest.mark.parametrize(
    ("document", "rules"),
    [
        ({"operation": "count", "params": {"mb": CANARY}}, Rules()),
        ({"operation": "count", "mb": CANARY}, Rules()),
        ({"mb": CANARY}, Rules(documents=(DocumentRule("count"),))),
    ],
)
def test_field_e8_the_whole_document_is_refused_before_any_work(document: dict[str, Any], rules: Rules) -> None:
    with pytest.raises(DocumentError) as caught:
        plan(document, size_bytes=1, namespace=Namespace(), enabled=ENABLED, rules=rules)
    assert str(caught.value) == "params.mb: should be a whole number, and is a string"
    with pytest.raises(DocumentError):
        plan(document, size_bytes=1, namespace=Namespace("team-a", "count"), enabled=ENABLED, rules=rules)


def test_field_e8_args_of_a_plain_command_are_not_params_and_a_python_handler_checks_its_own() -> None:
    for document in ({"operation": "count.sh", "args": ["x"]}, {"operation": "python", "params": {"mb": "3"}}):
        (step,) = plan(document, size_bytes=1, namespace=Namespace(), enabled=ENABLED, rules=Rules()).steps
        assert step.kind is (StepKind.COMMAND if "args" in document else StepKind.HANDLER)


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"properties": {"a": 5}}, 'properties.a: 5 is not of types "boolean", "object"'),
        ({"properties": {"a": {"pattern": "("}}}, "regex"),
        ({"properties": {"a": {"pattern": "(?=a)(a|aa)+$"}}}, "regex"),
        ({"$ref": "file:///etc/passwd"}, "/etc/passwd"),
        ({"$ref": "http://127.0.0.1:9/x"}, "http://127.0.0.1:9/x"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"),
        ({"$schema": "http://example.com/x"}, "http://example.com/x"),
    ],
)
def test_a_schema_that_cannot_be_used_has_one_printable_line(schema: dict[str, Any], part: str) -> None:
    problem = schema_problem(schema)
    assert part in problem
    assert problem.isprintable()
    assert len(problem) <= 200


def test_a_schema_cannot_read_files(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"type": "integer"}')
    assert "Retrieval is disabled" in schema_problem({"$ref": f"file://{tmp_path}/secret.json"})


def test_a_schema_nested_without_end_is_a_problem_and_not_a_crash() -> None:
    deep: dict[str, Any] = {}
    for _ in range(800):
        deep = {"not": deep}
    assert schema_problem(deep)
    for circle in ({"allOf": [{"$ref": "#"}]}, {"$dynamicRef": "#x", "$dynamicAnchor": "x"}):
        assert schema_problem(circle) == params_problem(circle, {}) == ""


def test_words_that_are_not_a_schema_constrain_nothing() -> None:
    assert schema_problem({"mb": "how many MiB"}) == params_problem({"mb": "how many MiB"}, {"mb": "x"}) == ""


def test_a_long_document_is_matched_in_linear_time() -> None:
    schema = {"properties": {"a": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}}
    assert "pattern" in params_problem(schema, {"a": "a" * 120_000})


def test_the_validator_is_loaded_only_for_a_manifest_with_a_schema() -> None:
    document = json.dumps({"operation": "x", "params": {"mb": 1}})
    program = (
        "import sys, json\n"
        "import iot_jobs_agent.judge, iot_jobs_agent.catalog.catalog\n"
        "from iot_jobs_agent.documents.document import plan\n"
        "from iot_jobs_agent.documents.enabled_handler import Namespace, Rules\n"
        "from tests.support.handlers import enabled_handler\n"
        "def judge(schema):\n"
        "    enabled = {'x': enabled_handler('x', ('/x',), directory='/', params=schema)}\n"
        f"    plan({document}, size_bytes=1, namespace=Namespace(), enabled=enabled, rules=Rules())\n"
        "    return 'jsonschema_rs' in sys.modules\n"
        "print(judge({}), judge({'type': 'object'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=55, check=True)
    assert done.stdout == "False True\n"
