"""What a handler declares as its params decides where a document could mean two things."""

import json
from typing import Any

import pytest
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import Plan, StepKind
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace, Rules
from iot_jobs_agent.errors import DocumentError, ForeignDocumentError

URL = {"properties": {"url": {"type": "string"}}}
ENABLED = {
    "plain": enabled_handler("plain", ("/opt/plain",), directory="/opt"),
    "told": enabled_handler(
        "told", ("/opt/told",), directory="/opt", params={"properties": {"runAsUser": {}, "Args": {}}}
    ),
    "python": enabled_handler("python", ("worker", "python"), params=URL),
    "lint": enabled_handler("lint", ("worker", "lint"), params={"properties": {"args": {}, "params": {}}}),
}


def judge(document: Any) -> Plan:
    return plan(document, size_bytes=1, namespace=Namespace(), enabled=ENABLED, rules=Rules(own_user="agent"))


def params(document: Any) -> Any:
    (step,) = judge(document).steps
    assert step.kind is StepKind.HANDLER
    return json.loads(step.input)


def refusal(document: Any) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        judge(document)
    return caught.value


def test_a_script_gets_what_it_declares_though_it_is_a_word_of_the_older_form() -> None:
    assert params({"operation": "told", "runAsUser": "root", "Args": ["a"]}) == {"runAsUser": "root", "Args": ["a"]}
    assert judge({"operation": "plain", "runAsUser": "agent"}).steps[0].argv == ("/opt/plain", "agent")
    assert str(refusal({"operation": "plain", "Args": ["a"]})).startswith(
        "Args: is not known in a document for a script"
    )
    assert params({"operation": "plain", "params": {"Args": ["a"]}}) == {"Args": ["a"]}


def test_only_an_array_of_arguments_is_taken_for_args() -> None:
    assert params({"operation": "plain", "arguments": {"a": 1}}) == {"arguments": {"a": 1}}
    assert str(refusal({"operation": "plain", "argv": ["a"]})).startswith(
        "argv: is not known in a document for a script"
    )


def test_a_python_handler_may_take_a_param_that_is_called_args() -> None:
    assert params({"operation": "lint", "args": ["a"]}) == {"args": ["a"]}
    assert "takes no args" in str(refusal({"operation": "python", "args": ["a"]}))


def test_a_member_beside_params_is_refused_unless_the_handler_may_want_it() -> None:
    document = {"params": {"url": "u"}, "id": "7"}
    assert str(refusal({"operation": "python", **document})) == (
        "id: stands beside `params`; write it into `params`, or leave it out"
    )
    assert params({"operation": "lint", **document}) == document
    assert params({"operation": "plain", **document}) == document
    assert str(refusal({"operation": "python", "params": {}, "canary-77d0": 1})).startswith("another member: stands")


def test_names_that_begin_with_an_underscore_are_comments_beside_params() -> None:
    assert params({"operation": "python", "_comment": "c", "_by": "ci", "params": {"url": "u"}}) == {"url": "u"}
    assert params({"operation": "plain", "_comment": "c", "url": "u"}) == {"_comment": "c", "url": "u"}


@pytest.mark.parametrize("broken", [{"run": "make"}, "text", {"action": {"type": "runLambda", "input": {}}}])
def test_one_step_of_ours_makes_the_document_ours(broken: Any) -> None:
    ours = {"action": {"type": "runHandler", "input": {"handler": "plain"}}}
    for steps in ([ours, broken], [broken, ours]):
        assert not isinstance(refusal({"version": "1.0", "steps": steps}), ForeignDocumentError)
    assert isinstance(refusal({"version": "1.0", "steps": [broken]}), ForeignDocumentError)


def test_a_handler_that_is_not_enabled_may_be_another_agents_beside_ours() -> None:
    ours, other = ({"action": {"type": "runHandler", "input": {"handler": name}}} for name in ("plain", "fly"))
    assert isinstance(refusal({"version": "1.0", "steps": [ours, other]}), ForeignDocumentError)


def test_a_reason_advises_no_mapping_where_none_counts_and_no_installation_of_what_is_built_in() -> None:
    command = {"action": {"type": "runCommand", "input": {"command": "echo"}}}
    assert str(refusal({"version": "1.0", "steps": [command]})) == (
        'steps[0].action.type: handler "run-command" is not enabled on this device; '
        'add "run-command" to handlers.enabled in its configuration'
    )
    assert 'or map "fly" to an enabled handler in [operations]' in str(refusal({"operation": "fly"}))
