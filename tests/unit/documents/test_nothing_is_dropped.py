"""Nothing that would change what runs is dropped silently, in whatever form and at whatever place a document has it.

Each form that is accepted gets one more member. It is then refused by name, or the handler gets it; only what resembles
nothing and is no word for changing what runs is ignored, as docs/documents.md says.
"""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import Plan
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import DocumentRule, Namespace, Rules
from iot_jobs_agent.errors import DocumentError

SCRIPTS = "/opt/scripts"
ENABLED = {
    "run-command": enabled_handler("run-command", ("worker", "run-command")),
    "ota": enabled_handler("ota", ("worker", "ota")),
    "deploy": enabled_handler("deploy", (f"{SCRIPTS}/deploy.sh",), directory=SCRIPTS),
}
RULES = Rules(
    directories=(SCRIPTS,),
    run_as_users=("kiosk",),
    programs=("/bin/echo",),
    device={"architecture": "x"},
    documents=(DocumentRule("ota"),),
)
STEPS = {
    "version": "1.0",
    "conditions": [{"key": "architecture", "value": ["x"], "type": "stringEqual"}],
    "steps": [
        {"action": {"name": "A", "type": "runHandler", "input": {"handler": "deploy", "args": ["a"]}}},
        {"action": {"name": "B", "type": "runCommand", "input": {"command": "echo,b"}}},
    ],
    "finalStep": {"action": {"name": "C", "type": "runCommand", "input": {"command": "echo,c"}}},
}
OLDER = {"operation": "deploy.sh", "args": ["a"]}
TELLING = {"operation": "deploy", "args": ["a"]}
INPUT = (["handler", "args", "path"], ["command"])
ACTION = ["input", "runAsUser", "allowStdErr", "ignoreStepFailure"]
# The places of AWS's forms: a document, the way there, the members known there, whether all others are refused.
Place = tuple[dict[str, Any], tuple[Any, ...], list[str], bool]
PLACES: list[Place] = [
    (OLDER, (), ["args", "path", "allowStdErr", "includeStdOut", "runAsUser"], False),
    (TELLING, (), ["args", "path", "allowStdErr", "includeStdOut", "runAsUser"], False),
    (STEPS, (), ["steps", "finalStep", "includeStdOut", "conditions"], False),
    (STEPS, ("conditions", 0), ["key", "value", "type"], True),
    (STEPS, ("steps", 0), ["action"], False),
    (STEPS, ("steps", 0, "action"), ACTION, False),
    (STEPS, ("steps", 1, "action"), ACTION, False),
    (STEPS, ("steps", 0, "action", "input"), INPUT[0], True),
    (STEPS, ("steps", 1, "action", "input"), INPUT[1], True),
    (STEPS, ("finalStep",), ["action"], False),
    (STEPS, ("finalStep", "action"), ACTION, False),
    (STEPS, ("finalStep", "action", "input"), INPUT[1], True),
]
# The forms in which the handler gets every member.
DELIVERED: list[tuple[dict[str, Any], Namespace]] = [
    ({"operation": "ota", "url": "u"}, Namespace()),
    ({"operation": "deploy", "url": "u"}, Namespace()),
    ({"operation": "ota", "steps": [], "url": "u"}, Namespace()),
    ({"url": "u"}, Namespace()),
    ({"steps": {}, "url": "u"}, Namespace()),
    ({"operation": "reboot", "args": []}, Namespace("team-a", "ota")),
]
WORDS = [  # for what changes what runs, which people expect to work or know from other agents
    *("timeout", "timeoutInMinutes", "stepTimeout", "env", "environment_variables", "cwd", "workingDirectory", "user"),
    *("group", "sudo", "arguments", "params", "parameters", "command", "script", "shell", "stdin", "retries"),
    *("maxRetries", "retryPolicy", "dryRun", "dry_run", "when", "condition", "unless", "rollback", "rollbackSteps"),
    *(
        "onFailure",
        "continueOnError",
        "reboot",
        "rebootRequired",
        "preSteps",
        "cleanup",
        "parallel",
        "delay",
        "enabled",
    ),
    *("runAsUser", "allowStdErr", "ignoreStepFailure", "includeStdOut", "finalStep", "conditions", "steps", "args"),
]
values = st.sampled_from([True, False, 5, "x", ["x"], {"x": "y"}, 0, [], {}])
letters = st.sampled_from("abcdefghijklmnopqrstuvwxyz")


def judge(document: Any, namespace: Namespace) -> Plan:
    return plan(document, size_bytes=100, namespace=namespace, enabled=ENABLED, rules=RULES)


def with_member(place: Place, key: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(place[0])
    table: Any = document
    for part in place[1]:
        table = table[part]
    table[key] = value
    return document


@st.composite
def misspelt(draw: st.DrawFn, known: list[str]) -> str:
    """One of the known names with one slip: a letter too many, too few, another one, two exchanged, other case."""
    name = draw(st.sampled_from(known))
    at = draw(st.integers(0, len(name) - 1))
    letter = draw(letters)
    slips = [
        *(name[:at] + letter + name[at:], name[:at] + name[at + 1 :], name[:at] + letter + name[at + 1 :]),
        *(name[:at] + name[at : at + 2][::-1] + name[at + 2 :], name.upper(), name.capitalize(), f"{name}s"),
        *(name[:at] + "_" + name[at:], name[:at] + "-" + name[at:], f"{name} "),
    ]
    return draw(st.sampled_from(slips))


@given(st.data())
def test_a_misspelt_member_is_refused_by_name_wherever_it_stands(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(PLACES))
    key = data.draw(misspelt(place[2]).filter(lambda key: key and not key.startswith("_")))
    if key in {*place[2], "name", "type", "version", "operation", "params"}:
        return
    with pytest.raises(DocumentError) as caught:
        judge(with_member(place, key, data.draw(values)), Namespace())
    assert json.dumps(key)[1:-1] in str(caught.value) or "has a member that is not known here" in str(caught.value)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place[1])) or str(place[0])[:25])
@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_changing_what_runs_is_refused_by_name_wherever_it_stands(word: str, place: Place) -> None:
    if word in place[2]:
        return
    for value in (False, 5, ["x"]):
        with pytest.raises(DocumentError, match=rf"(^|\.){word}: "):
            judge(with_member(place, word, value), Namespace())


@given(st.sampled_from(PLACES), letters, st.text("xzq0 7Qé.", min_size=9), values)
def test_what_resembles_nothing_is_ignored_except_where_it_might_change_what_runs(
    place: Place, first: str, rest: str, value: object
) -> None:
    document = with_member(place, first + rest, value)
    if place[3]:
        with pytest.raises(DocumentError, match="not known here and might change what runs"):
            judge(document, Namespace())
    else:
        assert judge(document, Namespace()) == judge(place[0], Namespace())


@given(st.sampled_from(DELIVERED), st.text() | st.sampled_from([*WORDS, "_x", "Args", "_comment"]), values)
def test_in_every_other_form_a_member_is_refused_by_name_or_the_handler_gets_it(
    form: tuple[dict[str, Any], Namespace], key: str, value: object
) -> None:
    document, namespace = form
    changed = document | {key: value}
    try:
        judged = judge(changed, namespace)
    except DocumentError as error:
        assert key in str(error) or key in {"operation", "steps"} or not key.isprintable()  # noqa: PT017 - or a plan
        return
    (step,) = judged.steps
    if step.input == "{}":  # AWS's older form
        assert key in {"args", "runAsUser", "allowStdErr", "includeStdOut", "path"}
    else:
        assert json.loads(step.input).get(key, changed.get("operation")) == value
