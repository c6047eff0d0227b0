"""As whom a step runs that names a user: where handlers run in units, as that user."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import Plan, Step, StepKind
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace, Rules
from iot_jobs_agent.errors import DocumentError

SCRIPTS = "/etc/iot-jobs-agent/handlers"
UNITS = Rules(
    directories=(SCRIPTS,),
    run_as_users=("kiosk", "_web-1"),
    own_user="iot-jobs-agent",
    programs=("/usr/bin/id",),
    profiles={"fixed": "packages", "write-file": "files"},
    has_units=True,
)
PLAIN = UNITS._replace(has_units=False, profiles={})
ENABLED = {
    name: enabled_handler(name, argv, directory=directory)
    for name, argv, directory in (
        ("deploy", (f"{SCRIPTS}/deploy.sh",), SCRIPTS),
        ("fixed", (f"{SCRIPTS}/fixed",), SCRIPTS),
        ("run-command", ("worker",), ""),
        ("download-file", ("worker",), ""),
        ("write-file", ("worker",), ""),
    )
}


def steps(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"version": "1.0", "steps": [{"action": action} for action in actions]}


def handler(name: str, *args: str, user: str) -> dict[str, Any]:
    return {"type": "runHandler", "input": {"handler": name, "args": list(args)}, "runAsUser": user}


def command(text: str, *, user: str) -> dict[str, Any]:
    return {"type": "runCommand", "input": {"command": text}, "runAsUser": user}


def judged(document: object, rules: Rules = UNITS) -> Plan:
    return plan(document, size_bytes=1, namespace=Namespace(), enabled=ENABLED, rules=rules)


def refusal(document: object, rules: Rules = UNITS) -> str:
    with pytest.raises(DocumentError) as refused:
        judged(document, rules)
    return str(refused.value)


def facts(step: Step) -> tuple[StepKind, str, tuple[str, ...]]:
    return step.kind, step.user, step.argv


def test_in_units_every_kind_of_step_runs_as_the_user_that_its_document_names() -> None:
    made = judged(
        steps(
            handler("deploy.sh", "x", user="kiosk"),
            command("id,-un", user="_web-1"),
            handler("download-file", "https://example.com/a", "/srv/a", user="kiosk"),
        )
    )
    script, program, built_in = made.steps
    assert facts(script) == (StepKind.COMMAND, "kiosk", (f"{SCRIPTS}/deploy.sh", "kiosk", "x"))
    assert facts(program) == (StepKind.COMMAND, "_web-1", ("/usr/bin/id", "-un"))
    assert facts(built_in) == (StepKind.HANDLER, "kiosk", ("worker",))
    older = judged({"operation": "deploy.sh", "args": ["x"], "runAsUser": "kiosk"})
    assert facts(older.steps[0]) == facts(script)
    assert made.without_secrets.steps[0].user == "kiosk"


@pytest.mark.parametrize("user", ["", "iot-jobs-agent"])
def test_without_a_user_or_with_the_agents_own_a_step_runs_as_ever(user: str) -> None:
    made = judged(steps(handler("deploy", user=user), handler("fixed", user=user), command("id", user=user)))
    assert [step.user for step in made.steps] == ["", "", ""]
    assert made.steps[0].argv == (f"{SCRIPTS}/deploy.sh", user)


def test_the_plain_way_a_script_gets_the_name_and_all_else_is_refused_as_ever() -> None:
    [script] = judged(steps(handler("deploy", user="kiosk")), PLAIN).steps
    assert facts(script) == (StepKind.COMMAND, "", (f"{SCRIPTS}/deploy.sh", "kiosk"))
    for action in (command("id", user="kiosk"), handler("download-file", user="kiosk")):
        assert "runAsUser: another user needs a privileged unit, as this step" in refusal(steps(action), PLAIN)


@pytest.mark.parametrize("name", ["fixed", "write-file"])
def test_a_handler_with_a_profile_of_its_own_is_refused_with_what_to_do(name: str) -> None:
    assert refusal(steps(handler(name, user="kiosk"))) == (
        f'steps[0].action.runAsUser: handler "{name}" has a profile of its own, which says as whom it runs; leave it '
        f'out, or remove `profile` from [handler."{name}"] in the device\'s configuration'
    )
    assert judged(steps(handler(name, user=""))).steps[0].user == ""


def test_commands_with_a_profile_of_their_own_are_refused_too() -> None:
    rules = UNITS._replace(profiles={"run-command": "isolated"})
    assert 'runAsUser: handler "run-command" has a profile of its own' in refusal(
        steps(command("id", user="kiosk")), rules
    )


@pytest.mark.parametrize("rules", [UNITS, PLAIN])
def test_a_user_that_is_not_listed_is_refused(rules: Rules) -> None:
    for action in (handler("deploy", user="root"), command("id", user="root"), handler("download-file", user="root")):
        assert "runAsUser: is not allowed on this device; leave it out or add that user" in refusal(
            steps(action), rules
        )


def test_a_step_of_two_users_is_not_the_same() -> None:
    [step] = judged(steps(handler("deploy", user="kiosk"))).steps
    assert replace(step, user="") != step
