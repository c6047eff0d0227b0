"""Documents as fleets write them, and what the agent made of them in the field: one test for each kind of mistake."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.configs import NOWHERE, config_of
from tests.support.handlers import enabled_handler

from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.config.keys import ConfigFile
from iot_jobs_agent.core.job import Plan, StepKind
from iot_jobs_agent.documents.document import LARGEST_BYTES, plan
from iot_jobs_agent.documents.enabled_handler import DocumentRule, Namespace, Rules
from iot_jobs_agent.errors import ConfigError, DocumentError, ForeignDocumentError
from iot_jobs_agent.handler_name import handler_name_problem
from iot_jobs_agent.kit.trial import find_tried_handler

SCRIPTS = "/opt/scripts"
PAGE = Path(__file__).parents[3] / "docs" / "documents.md"
ENABLED = {
    "run-command": enabled_handler("run-command", ("worker", "run-command")),
    "ota_update": enabled_handler("ota_update", ("worker", "ota")),
    "deploy": enabled_handler("deploy", (f"{SCRIPTS}/deploy.sh",), directory=SCRIPTS),
    "Foo.py": enabled_handler("Foo.py", (f"{SCRIPTS}/Foo.py",), directory=SCRIPTS),
}
RULES = Rules(
    directories=(SCRIPTS,),
    run_as_users=("kiosk",),
    programs=("/bin/echo",),
    operations={"Firmware Update": "ota_update", "/home/pi/deploy.sh": "deploy", "Run it": "deploy"},
)


def judge(document: object, rules: Rules = RULES, *, size_bytes: int = 100) -> Plan:
    return plan(document, size_bytes=size_bytes, namespace=Namespace(), enabled=ENABLED, rules=rules)


def refused(document: object, rules: Rules = RULES) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        judge(document, rules)
    return caught.value


def refusal(document: object, rules: Rules = RULES) -> str:
    return str(refused(document, rules))


def steps(kind: str, given: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"version": "1.0", "steps": [{"action": {"name": "A", "type": kind, "input": given, **members}}]}


def runs(made: Plan) -> list[tuple[str, ...]]:
    return [(step.kind.value, step.handler, *step.argv[1:]) for step in made.steps]


@pytest.mark.parametrize("name", ["ota_update", "app_fw_update", "ROTATE_CERTIFICATE", "systemStatus", "Foo.py"])
def test_field_e1_operations_as_they_are_called_in_the_wild_can_be_enabled(name: str, tmp_path: Path) -> None:
    assert config_of(tmp_path, handlers={"enabled": [name]}).handlers.enabled == (name,)


@pytest.mark.parametrize("name", ["deploy.sh", "a.manifest.json", "_x", ".x", "-x", "a b", "ü", "", "a" * 65, "a\n"])
def test_field_e1_a_name_that_no_handler_can_have_is_refused_with_the_fix(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[handlers]\nenabled = [{json.dumps(name)}]\n")
    with pytest.raises(ConfigError, match=r"handlers.enabled\[0\]: cannot be the name of a handler.*; (use|leave)"):
        load_handlers(path)


def test_field_e1_names_are_told_apart_to_the_letter() -> None:
    assert runs(judge({"operation": "Foo.py", "args": ["a"]})) == [("command", "Foo.py", "", "a")]
    assert '"foo.py" is not enabled' in refusal({"operation": "foo.py"})
    assert '"Deploy" is not enabled' in refusal({"operation": "Deploy.sh"})


@pytest.mark.parametrize(
    ("document", "run"),
    [
        ({"operation": "Firmware Update", "url": "x"}, ("handler", "ota_update", "ota")),
        ({"operation": "Run it", "args": ["a"]}, ("command", "deploy", "", "a")),
        ({"operation": "/home/pi/deploy.sh"}, ("command", "deploy", "")),
        ({"operation": "Run it.sh"}, ("command", "deploy", "")),
        (steps("runHandler", {"handler": "/home/pi/deploy.sh"}), ("command", "deploy", "")),
    ],
)
def test_field_e1_any_text_can_be_mapped_to_a_handler(document: dict[str, Any], run: tuple[str, ...]) -> None:
    assert runs(judge(document)) == [run]
    assert "[operations]" in refusal(document, RULES._replace(operations={}))


async def test_field_e1_a_trial_is_of_the_handler_that_is_named_whatever_maps_its_name(tmp_path: Path) -> None:
    (tmp_path / "deploy").write_text("#!/bin/sh\n")
    (tmp_path / "deploy").chmod(0o755)
    handlers = {"enabled": ["run-command"], "directories": [str(tmp_path)]}
    config = config_of(tmp_path, handlers=handlers, operations={"deploy": "run-command"})
    tried = await find_tried_handler("deploy", config)
    assert tried.step({}).handler == "deploy"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_field_e1_no_reason_advises_what_the_configuration_refuses(asked: str) -> None:
    bare = asked.removesuffix(".sh")
    if bare in ENABLED or asked in RULES.operations:
        return
    reason = refusal({"operation": asked})
    assert ("handlers.enabled" in reason) is not (bool(handler_name_problem(bare)) or "a shell is not" in reason)
    tables: dict[str, Any] = {"aws": NOWHERE, "handlers": {"enabled": ["deploy"]}}
    if "handlers.enabled" in reason:
        tables["handlers"] = {"enabled": ["deploy", bare]}
    if "[operations]" in reason:
        tables["operations"] = {asked: "deploy"}
    ConfigFile.model_validate(tables)
    rules = RULES._replace(operations=tables.get("operations", {}))
    if "[operations]" in reason:
        assert judge({"operation": asked}, rules).steps[0].handler == "deploy"


@pytest.mark.parametrize(("user", "is_listable"), [("pi", True), ("Pi", False), ("a user", False), ("-x", False)])
def test_field_e1_a_user_that_cannot_be_listed_is_not_to_be_listed(
    user: str, is_listable: bool, tmp_path: Path
) -> None:
    reason = refusal({"operation": "deploy", "args": [], "runAsUser": user})
    assert ("handlers.run_as_users" in reason) is is_listable
    path = tmp_path / "config.toml"
    path.write_text(f"[handlers]\nrun_as_users = [{json.dumps(user)}]\n")
    if is_listable:
        assert load_handlers(path).handlers.run_as_users == (user,)
    else:
        with pytest.raises(ConfigError):
            load_handlers(path)


def test_field_e1_a_relative_path_is_not_to_be_listed() -> None:
    reason = refusal(steps("runHandler", {"handler": "deploy", "path": "path to handler"}))
    assert reason == (
        "steps[0].action.input.path: is not an absolute path; leave it out, or give one of handlers.directories"
    )


@pytest.mark.parametrize("shell", ["sh", "bash", "/bin/sh", "/usr/bin/busybox"])
def test_field_e1_a_shell_is_no_handler_and_the_reason_says_how_to_allow_a_program(shell: str) -> None:
    reason = refusal({"operation": shell, "args": ["-c", "id"]})
    assert "a shell is not a handler; to allow a program, list it in handler.run-command.programs" in reason
    assert "handlers.enabled" not in reason


@pytest.mark.parametrize(
    "document",
    [{"url": "u"}, {"action": "a"}, {"Todo": "t"}, {"version": "1.0", "parameters": {}}, {"afr_ota": {}}, {}],
)
def test_field_e2_a_document_without_operation_and_steps_goes_to_the_first_entry_that_fits(
    document: dict[str, Any],
) -> None:
    ota, rest = DocumentRule("ota_update", "afr_ota"), DocumentRule("Foo.py")
    (step,) = judge(document, RULES._replace(documents=(ota, rest))).steps
    assert (step.kind, step.handler) == (StepKind.HANDLER, "ota_update" if "afr_ota" in document else "Foo.py")
    assert json.loads(step.input) == document
    reason = refusal(document, RULES._replace(documents=(DocumentRule("ota_update", "other"),)))
    assert "give such documents to an enabled handler by [[documents]]" in reason
    named = [key for key in document if key != "version"]
    assert (f'has = "{named[0]}"' in reason) if named else ("has" not in reason.partition("[[documents]]")[2])


def test_field_e2_an_entry_takes_no_document_that_has_operation_or_steps() -> None:
    rules = RULES._replace(documents=(DocumentRule("ota_update"),))
    assert '"fly" is not enabled' in refusal({"operation": "fly"}, rules)
    assert "version: is missing" in refusal({"steps": []}, rules)


@pytest.mark.parametrize("key", ["canary-77d0", "https://x/y?secret", "a b", "x" * 33])
def test_field_e2_a_member_that_may_be_a_value_is_not_repeated(key: str) -> None:
    assert key not in refusal({key: 1})


@pytest.mark.parametrize(
    "more",
    [
        *({"description": "d"}, {"comment": "c"}, {"includeStdOut": "true"}, {"runAsUser": ""}),
        *({"_comment": "c"}, {"timestamp": 1}, {"path": "default", "id": "7"}, {"env": ""}),
    ],
)
@pytest.mark.parametrize("operation", ["deploy", "deploy.sh"])
def test_field_e3_args_beside_a_script_is_the_older_form_whatever_else_is_there(
    operation: str, more: dict[str, Any]
) -> None:
    assert runs(judge({"operation": operation, "args": ["a"], **more})) == [("command", "deploy", "", "a")]


def test_field_e3_params_is_the_way_out_for_a_param_that_is_called_args() -> None:
    (step,) = judge({"operation": "deploy", "params": {"args": ["a"]}}).steps
    assert (step.kind, json.loads(step.input)) == (StepKind.HANDLER, {"args": ["a"]})


@pytest.mark.parametrize("form", ["older", "steps"])
def test_field_e3_run_as_user_is_judged_in_the_older_form_as_in_steps(form: str) -> None:
    def document(user: str) -> dict[str, Any]:
        if form == "older":
            return {"operation": "deploy", "args": ["a"], "runAsUser": user}
        return steps("runHandler", {"handler": "deploy", "args": ["a"]}, runAsUser=user)

    assert runs(judge(document("kiosk"))) == [("command", "deploy", "kiosk", "a")]
    assert "runAsUser: is not allowed on this device" in refusal(document("root"))


@pytest.mark.parametrize(
    ("more", "start"),
    [
        ({"includeStdout": "true"}, "includeStdout: is not known here; if it means `includeStdOut`"),
        ({"Args": ["b"]}, "Args: is not known here; if it means `args`"),
        ({"allow_stderr": 3}, "allow_stderr: is not known here; if it means `allowStdErr`"),
        ({"runAsUsr": "root"}, "runAsUsr: is not known here; if it means `runAsUser`"),
        ({"env": {"A": "secret"}}, "env: would change what runs"),
        ({"workingDirectory": "/"}, "workingDirectory: would change what runs"),
        (
            {"timeout": 0},
            "timeout: would change what runs, but this form does not have it; leave it out, and set timeout_s",
        ),
        (
            {"params": {"a": 1}},
            "params: would change what runs, but this form does not have it; give either `args`, or",
        ),
        ({"conditions": [{}]}, "conditions: would change what runs"),
        ({"args": ["a", 30]}, "args: is not an array of strings, since args[1] is a number; put it in quotation marks"),
        ({"args": "a b"}, "args: is not an array of strings"),
    ],
)
def test_field_e3_what_was_meant_is_refused_by_name_and_never_dropped(more: dict[str, Any], start: str) -> None:
    for operation in ("deploy", "deploy.sh"):
        reason = refusal({"operation": operation, "args": ["a"], **more})
        assert reason.startswith(start)
        assert "secret" not in reason


@pytest.mark.parametrize(
    ("kind", "given", "where"),
    [
        ("runCommand", {"command": "/bin/echo", "args": ["a"]}, "args: would change what runs"),
        ("runCommand", {"command": "/bin/echo", "timeout": 5}, "timeout: would change what runs"),
        ("runCommand", {"command": "/bin/echo", "Command": "x"}, "Command: is not known here; if it means `command`"),
        ("runCommand", {"command": "/bin/echo", "path": "/x"}, "path: is not known here and might change what runs"),
        ("runHandler", {"handler": "deploy", "arg": ["a"]}, "arg: is not known here; if it means `args`"),
        ("runHandler", {"handler": "deploy", "Args": ["a"]}, "Args: is not known here; if it means `args`"),
        ("runHandler", {"handler": "deploy", "arguments": ["a"]}, "arguments: would change what runs"),
        ("runHandler", {"handler": "deploy", "verbose": True}, "verbose: is not known here and might change what runs"),
    ],
)
def test_field_e4_a_member_of_input_that_would_change_what_runs_is_refused_by_name(
    kind: str, given: dict[str, Any], where: str
) -> None:
    assert refusal(steps(kind, given)).startswith(f"steps[0].action.input.{where}")


def test_field_e4_a_member_that_may_be_a_value_is_refused_without_being_repeated() -> None:
    reason = refusal(steps("runHandler", {"handler": "deploy", "canary-77d0": 1}))
    assert reason == (
        "steps[0].action.input: has a member that is not known here and might change what runs; leave it out"
    )


@pytest.mark.parametrize(
    ("document", "start"),
    [
        (steps("runHandler", {"handler": "deploy"}, timeout=5), "steps[0].action.timeout: would change"),
        (steps("runHandler", {"handler": "deploy"}, runasuser="root"), "steps[0].action.runasuser: is not known"),
        (steps("runHandler", {"handler": "deploy"}) | {"condition": [{}]}, "condition: is not known here; if it means"),
        (steps("runHandler", {"handler": "deploy"}) | {"env": {"A": "b"}}, "env: would change what runs"),
    ],
)
def test_field_e4_the_same_holds_around_the_input(document: dict[str, Any], start: str) -> None:
    assert refusal(document).startswith(start)


def test_field_e4_comments_and_unset_members_of_input_are_ignored() -> None:
    given = {"handler": "deploy", "comment": "c", "_x": 1, "description": "d", "arguments": "", "env": None}
    assert runs(judge(steps("runHandler", given))) == [("command", "deploy", "")]


@pytest.mark.parametrize(
    "document",
    [
        {"steps": [{"action": {"type": "runCommand", "input": {"command": "echo"}}}]},
        {"version": "2.0", "steps": [{"action": {"type": "runCommand", "input": {"command": "echo"}}}]},
        {"version": "1.0", "steps": ["build", "test"]},
        {"version": 2, "steps": ["build", "test"]},
        {"version": "1.0", "steps": [{"name": "a", "type": "runHandler", "input": {"handler": "deploy"}}]},
        {"version": "1.0", "steps": [{"action": {"name": "a", "parameters": {"url": "u"}}}]},
        {"version": "1.0", "steps": [{"action": {"type": "runLambda", "input": {}}}]},
        *([{"operation": "deploy"}], "text", 7, None),
        {"operation": "fly", "args": ["a"], "runAsUser": "root", "env": {"A": "b"}},
        steps("runHandler", {"handler": "fly", "arguments": []}, runAsUser="root"),
        {"afr_ota": {}},
        {"operation": {"type": "reboot"}},
    ],
)
def test_field_e5_what_is_not_ours_can_be_left_alone(document: object) -> None:
    assert isinstance(refused(document), ForeignDocumentError)


@pytest.mark.parametrize(
    "document",
    [
        {"version": "1.0", "steps": []},
        {"version": 1.0, "steps": [{"action": {"type": "runCommand", "input": {"command": "echo"}}}]},
        steps("runHandler", {"handler": "deploy", "arguments": ["a"]}),
        steps("runCommand", {"command": "/bin/sh"}),
        {"operation": ""},
        {"operation": "deploy", "args": 3},
    ],
)
def test_field_e5_a_mistake_in_what_is_ours_is_not_left_alone(document: object) -> None:
    assert not isinstance(refused(document), ForeignDocumentError)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        *[(absent, 'version: is missing; write "version": "1.0"') for absent in ("", None)],
        *[(number, "version: is a number where a string belongs; write") for number in (1.0, 1, 2)],
        (True, "version: is a boolean where a string belongs; write"),
        (["1.0"], "version: is an array where a string belongs; write"),
        ({}, "version: is an object where a string belongs; write"),
        ("1.1", 'version: is not "1.0"'),
    ],
)
def test_field_e6_the_reason_says_what_is_wrong_with_the_version(version: object, reason: str) -> None:
    assert refusal(steps("runHandler", {"handler": "deploy"}) | {"version": version}).startswith(reason)


def test_field_e7_a_document_may_be_as_large_as_a_message() -> None:
    assert judge({"operation": "deploy"}, size_bytes=LARGEST_BYTES)
    assert LARGEST_BYTES == 128 * 1024
    with pytest.raises(DocumentError, match="131073 bytes; at most 131072 are allowed"):
        judge({"operation": "deploy"}, size_bytes=LARGEST_BYTES + 1)


@pytest.mark.parametrize(
    "command",
    [
        *("/bin/echo $(canary), ;", "/bin/echo canary,a", "nosuch\tcanary,a", "'no such canary' x", "nosuch canary"),
        *("nosuch,canary", "/bin/ls\ncanary,b", "nosuch\u2028canary,b"),
    ],
)
def test_a_refused_program_is_named_only_up_to_the_first_white_space(command: str) -> None:
    reason = refusal(steps("runCommand", {"command": command}))
    assert "canary" not in reason
    assert re.search(r'program "(/bin/echo|/bin/ls|nosuch|no)" is not allowed', reason)
    assert "handler.run-command.programs" in reason


def test_a_program_of_white_space_only_is_refused_too() -> None:
    assert 'program "" is not allowed' in refusal(steps("runCommand", {"command": "' ' x"}))


def test_the_configurations_on_the_page_are_accepted(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml config\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for text in blocks:
        path = tmp_path / "config.toml"
        path.write_text(text)
        assert load_handlers(path).handlers.enabled
