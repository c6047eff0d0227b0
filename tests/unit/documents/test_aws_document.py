"""AWS's documents, member by member, as far as tests/unit/documents/test_document.py does not have them."""

import os
import platform
from typing import Any

import pytest
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import Plan, StepKind
from iot_jobs_agent.device import device_facts
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace, Rules
from iot_jobs_agent.errors import DocumentError

SCRIPTS = "/opt/scripts"
DEBIAN = {"operatingSystem": "debian", "osVersion": "12", "architecture": "aarch64"}
RULES = Rules(directories=(SCRIPTS,), programs=("/bin/echo",), device=DEBIAN)
ENABLED = {
    "run-command": enabled_handler("run-command", ("worker", "run-command")),
    "download-file": enabled_handler("download-file", ("worker", "download-file")),
    "greet": enabled_handler("greet", (f"{SCRIPTS}/greet.sh",), directory=SCRIPTS),
}
HOLDS = {"key": "operatingSystem", "value": ["ubuntu", "debian"], "type": "stringEqual"}
FAILS = {"key": "osVersion", "value": ["11", "13"], "type": "stringEqual"}


def judge(document: object, rules: Rules = RULES) -> Plan:
    return plan(document, size_bytes=100, namespace=Namespace(), enabled=ENABLED, rules=rules)


def refusal(document: object, rules: Rules = RULES) -> str:
    with pytest.raises(DocumentError) as caught:
        judge(document, rules)
    return str(caught.value)


def step(name: str = "Say", **action: Any) -> dict[str, Any]:
    return {"action": {"name": name, "type": "runCommand", "input": {"command": "echo,hi"}, **action}}


def aws(*steps: Any, **members: Any) -> dict[str, Any]:
    return {"version": "1.0", "steps": list(steps or [step()]), **members}


@pytest.mark.parametrize("conditions", [None, "", [], [HOLDS], [{**HOLDS, "type": ""}], [HOLDS, HOLDS]])
def test_conditions_that_hold_change_nothing(conditions: object) -> None:
    assert judge(aws(conditions=conditions)) == judge(aws())


@pytest.mark.parametrize(
    ("key", "value"), [("operatingSystem", "debian"), ("osVersion", "12"), ("architecture", "aarch64")]
)
def test_each_fact_can_be_asked_for_with_the_type_left_out(key: str, value: str) -> None:
    assert judge(aws(conditions=[{"key": key, "value": ["other", value]}]))
    assert f"{key} of this device is" in refusal(aws(conditions=[{"key": key, "value": [value.upper() + "x"]}]))


def test_a_condition_that_does_not_hold_names_the_key_and_what_the_device_is() -> None:
    assert refusal(aws(conditions=[HOLDS, FAILS])) == (
        'conditions[1]: osVersion of this device is "12", which is none of its values; '
        "target the job at things that fit, or add the value"
    )


def test_a_fact_that_the_device_does_not_say_never_holds() -> None:
    rules = Rules(programs=("/bin/echo",), device={**DEBIAN, "osVersion": ""})
    assert 'osVersion of this device is ""' in refusal(aws(conditions=[FAILS]), rules)
    assert "conditions[0].value" in refusal(aws(conditions=[{**FAILS, "value": [""]}]), rules)


def test_conditions_are_looked_at_before_the_steps() -> None:
    assert refusal(aws(step(type="fly"), conditions=[FAILS])).startswith("conditions[0]")


@pytest.mark.parametrize(
    ("conditions", "part"),
    [
        ({}, "conditions: is not an array"),
        ("linux", "conditions: is not an array"),
        ([[]], "conditions[0]: is not an object"),
        ([{**HOLDS, "key": "OS"}], 'conditions[0].key: "OS" is not known here; use one of operatingSystem, osVersion'),
        ([{"value": ["a"]}], 'conditions[0].key: "" is not known here'),
        ([{**HOLDS, "key": 3}], "conditions[0].key: is not a string"),
        ([HOLDS, {**HOLDS, "type": "regex"}], 'conditions[1].type: "regex" is not known here; use "stringEqual"'),
        ([{**HOLDS, "value": "debian"}], "conditions[0].value: is not an array of words"),
        ([{**HOLDS, "value": []}], "conditions[0].value: is not an array of words"),
        ([{**HOLDS, "value": ["debian", 12]}], "conditions[0].value: is not an array of words"),
        ([{"key": "osVersion"}], "conditions[0].value: is not an array of words"),
    ],
)
def test_a_condition_that_is_not_understood_is_refused(conditions: object, part: str) -> None:
    assert part in refusal(aws(conditions=conditions))


def test_the_facts_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = device_facts()
    assert list(facts) == list(DEBIAN)
    assert facts["operatingSystem"] == platform.freedesktop_os_release()["ID"]
    assert facts["architecture"] == os.uname().machine

    def no_file() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", no_file)
    assert device_facts() == {"operatingSystem": "", "osVersion": "", "architecture": os.uname().machine}


@pytest.mark.parametrize("handler", ["greet.sh", "download-file.sh"])
@pytest.mark.parametrize("path", ["default", "", None])
def test_the_default_path_is_wherever_the_handler_is(handler: str, path: str | None) -> None:
    given = {"handler": handler, "path": path}
    (one,) = judge(aws(step(type="runHandler", input=given))).steps
    assert one.handler == handler.removesuffix(".sh")


def test_awss_own_samples_of_the_older_schema_run_with_their_comment() -> None:
    document = {"_comment": "…", "operation": "download-file.sh", "args": ["https://x/y", "/a"], "path": "default"}
    assert judge(document).steps[0].kind is StepKind.HANDLER


@pytest.mark.parametrize(("given", "allowed"), [({}, 0), ({"allowStdErr": ""}, 0), ({"allowStdErr": 2}, 2)])
def test_the_older_schema_allows_no_stderr_unless_it_says_so(given: dict[str, Any], allowed: int) -> None:
    assert judge({"operation": "greet.sh", **given}).steps[0].allow_stderr == allowed


@pytest.mark.parametrize(("given", "allowed"), [({}, None), ({"allowStdErr": ""}, None), ({"allowStdErr": 0}, 0)])
def test_steps_may_write_anything_to_stderr_unless_told_otherwise(given: dict[str, Any], allowed: int | None) -> None:
    assert judge(aws(step(**given))).steps[0].allow_stderr == allowed


@pytest.mark.parametrize("word", [True, "true", "True"])
def test_flags_come_as_booleans_or_strings(word: object) -> None:
    assert judge(aws(step(ignoreStepFailure=word))).steps[0].ignore_failure is True
    assert judge(aws(includeStdOut=word)).steps[0].include_stdout is True
    assert judge(aws(includeStdOut="false")).steps[0].include_stdout is False


def test_steps_of_one_name_stay_two_steps() -> None:
    made = judge(aws(step("Say"), step("Say"), step("é=,\n"), step(), finalStep=step("Say")))
    assert [one.name for one in made.steps] == ["Say", "Say", "----", "Say", "Say"]


@pytest.mark.parametrize("version", ["1.1", "1", "1.0 "])
def test_another_version_is_refused(version: object) -> None:
    assert refusal({**aws(), "version": version}).startswith('version: is not "1.0"')
