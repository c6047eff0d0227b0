import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import LARGE
from tests.support.handlers import enabled_handler

from iot_jobs_agent.core.job import OnInterrupt, Plan, StepKind
from iot_jobs_agent.documents.document import LARGEST_BYTES, plan
from iot_jobs_agent.documents.enabled_handler import EnabledHandler, Namespace, Rules
from iot_jobs_agent.errors import DocumentError

DEFAULT = Namespace()
SCRIPTS = "/etc/iot-jobs-agent/handlers"
RULES = Rules(
    directories=(SCRIPTS, "/opt/team"),
    run_as_users=("kiosk",),
    own_user="iot-jobs-agent",
    programs=("/usr/bin/uptime", "/bin/echo"),
)


def handler(
    name: str, *, directory: str = "", unavailable: str = "", settings: str = "{}", **declared: Any
) -> EnabledHandler:
    argv = (f"{directory}/{name}.sh",) if directory else ("python", "-m", "iot_jobs_agent.worker", name)
    return enabled_handler(name, argv, settings=settings, directory=directory, unavailable=unavailable, **declared)


ENABLED = {
    item.name: item
    for item in (
        handler("run-command", timeout_s=60),
        handler("write-file", settings='{"roots": ["/srv"]}', on_interrupt=OnInterrupt.RERUN, exclusive=True),
        handler("download-file"),
        handler("install-packages"),
        handler("reboot", directory=SCRIPTS, timeout_s=30, grace_s=5),
        handler("broken", unavailable="its file is writable by others"),
    )
}


def judge(document: object, *, namespace: Namespace = DEFAULT, size_bytes: int = 100, rules: Rules = RULES) -> Plan:
    return plan(document, size_bytes=size_bytes, namespace=namespace, enabled=ENABLED, rules=rules)


def refusal(document: object, **facts: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        judge(document, **facts)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    return message


def action(**members: Any) -> dict[str, Any]:
    return {"action": {"name": "A", "type": "runHandler", "input": {"handler": "reboot"}, **members}}


def aws(*steps: Any, **members: Any) -> dict[str, Any]:
    return {"version": "1.0", "steps": list(steps), **members}


def command(text: str, **members: Any) -> dict[str, Any]:
    return aws(action(type="runCommand", input={"command": text}, **members))


def test_operation_and_params_is_one_step_with_the_manifests_limits() -> None:
    (step,) = judge({"operation": "write-file", "params": {"path": "/srv/a"}}).steps
    assert (step.name, step.handler, step.kind) == ("write-file", "write-file", StepKind.HANDLER)
    assert json.loads(step.input) == {"path": "/srv/a"}
    assert step.settings == '{"roots": ["/srv"]}'
    assert (step.on_interrupt, step.exclusive, step.timeout_s, step.max_timeout_s) == ("rerun", True, 3600, 3600)
    assert step.argv == ("python", "-m", "iot_jobs_agent.worker", "write-file")


@pytest.mark.parametrize(
    ("document", "params"),
    [
        ({"operation": "write-file", "path": "/srv/a", "content": "x"}, {"path": "/srv/a", "content": "x"}),
        ({"operation": "write-file", "params": {"a": 1}, "b": 2}, {"params": {"a": 1}, "b": 2}),
        ({"operation": "write-file", "params": [1]}, {"params": [1]}),
        ({"operation": "write-file", "args": "x", "path": "/srv"}, {"args": "x", "path": "/srv"}),
        ({"operation": "write-file", "steps": 3}, {"steps": 3}),
        ({"operation": "write-file", "steps": [1, 2], "version": "2"}, {"steps": [1, 2], "version": "2"}),
        ({"operation": "write-file"}, {}),
    ],
)
def test_a_flat_document_is_params_as_it_stands(document: dict[str, Any], params: dict[str, Any]) -> None:
    (step,) = judge(document).steps
    assert step.kind is StepKind.HANDLER
    assert json.loads(step.input) == params


def test_an_operation_beside_steps_of_version_1_0_is_not_looked_at() -> None:
    (step,) = judge(command("echo hi") | {"operation": "write-file"}).steps
    assert step.kind is StepKind.COMMAND


def test_a_bound_namespace_gives_the_whole_document_whatever_its_form() -> None:
    document = {"steps": [], "operation": "reboot", "version": "9"}
    (step,) = judge(document, namespace=Namespace("team-a", "write-file")).steps
    assert (step.handler, json.loads(step.input)) == ("write-file", document)


def test_a_namespace_bound_to_a_broken_handler_says_so() -> None:
    message = refusal({}, namespace=Namespace("team-a", "broken"))
    assert message == 'namespace team-a: handler "broken" is unavailable: its file is writable by others'


@pytest.mark.parametrize("document", [None, 1, "x", [], [{"operation": "reboot"}], True])
def test_a_document_that_is_not_an_object_is_refused(document: object) -> None:
    assert "not a JSON object; write" in refusal(document)


def test_the_size_limit_is_exact() -> None:
    assert judge({"operation": "write-file"}, size_bytes=LARGEST_BYTES)
    assert f"{LARGEST_BYTES + 1} bytes" in refusal({"operation": "write-file"}, size_bytes=LARGEST_BYTES + 1)


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({}, "neither `operation` nor `steps`"),
        ({"steps": {}}, "`steps` is not an array"),
        ({"operation": 3}, "`operation` is not the name of a handler"),
        ({"operation": ""}, "`operation` is not the name of a handler"),
        (
            {"operation": "copy"},
            'handler "copy" is not enabled on this device; install it there and add "copy" to handlers.',
        ),
        ({"operation": "../x"}, '"../x" is not enabled'),
        ({"operation": "/bin/sh"}, '"/bin/sh" is not enabled'),
        ({"operation": "broken"}, '"broken" is unavailable: its file is writable by others'),
        ({"operation": "reb\u043e\u043et\n\x1b[31m"}, r"reb\u043e\u043et\n\u001b[31m"),
        ({"operation": "https://x/y?X-Amz-Signature=1"}, '"https://x/y" is not enabled'),
        ({"operation": "x" * 9000}, "xxx..."),
    ],
)
def test_a_document_of_no_known_form_or_handler_is_refused(document: object, part: str) -> None:
    assert part in refusal(document)


def test_the_old_schema_runs_a_script_with_an_empty_user_and_its_args() -> None:
    document = {
        "operation": "reboot.sh",
        "args": ["now", "a,b"],
        "path": SCRIPTS,
        "allowStdErr": 2,
        "includeStdOut": "false",
    }
    (step,) = judge(document).steps
    assert (step.kind, step.handler, step.argv) == (
        StepKind.COMMAND,
        "reboot",
        (f"{SCRIPTS}/reboot.sh", "", "now", "a,b"),
    )
    assert (step.allow_stderr, step.include_stdout, step.timeout_s, step.grace_s) == (2, False, 30, 5)


def test_a_name_that_ends_in_sh_is_the_old_schema_even_without_args() -> None:
    assert judge({"operation": "reboot.sh"}).steps[0].argv == (f"{SCRIPTS}/reboot.sh", "")


def test_the_old_schema_gives_args_to_a_built_in_as_params() -> None:
    (step,) = judge({"operation": "download-file.sh", "args": ["https://x/y?z", "/srv/y"]}).steps
    assert step.kind is StepKind.HANDLER
    assert json.loads(step.input) == {"url": "https://x/y?z", "path": "/srv/y"}


def test_steps_run_in_order_with_their_names_and_the_final_step_last() -> None:
    document = aws(
        action(name="First", ignoreStepFailure="true", allowStdErr="3", runAsUser=""),
        action(name="", type="runCommand", input={"command": "uptime"}, ignoreStepFailure=False),
        finalStep=action(name="Last"),
        includeStdOut="true",
    )
    made = judge(document)
    assert [step.name for step in made.steps] == ["First", "step-2", "Last"]
    assert [step.ignore_failure for step in made.steps] == [True, False, False]
    assert [step.allow_stderr for step in made.steps] == [3, None, None]
    assert made.steps[1].argv == ("/usr/bin/uptime",)
    assert all(step.include_stdout for step in made.steps)
    assert not any(step.include_stdout for step in judge({**document, "includeStdOut": False}).steps)


def test_a_step_name_is_made_safe_to_show() -> None:
    assert judge(aws(action(name="a\n\x00é" + "b" * 100))).steps[0].name == "a---" + "b" * 60


def test_a_script_gets_the_listed_user_and_its_args() -> None:
    document = aws(action(input={"handler": "reboot.sh", "args": ["x"], "path": f"{SCRIPTS}/"}, runAsUser="kiosk"))
    assert judge(document).steps[0].argv == (f"{SCRIPTS}/reboot.sh", "kiosk", "x")


def test_the_agents_own_user_needs_no_listing() -> None:
    assert judge(command("uptime", runAsUser="iot-jobs-agent")).steps[0].argv == ("/usr/bin/uptime",)


@pytest.mark.parametrize(
    ("handler", "args", "params"),
    [
        ("download-file.sh", ["https://x/y?z", "/srv/y"], {"url": "https://x/y?z", "path": "/srv/y"}),
        ("download-file", ["https://x/y", ""], {"url": "https://x/y"}),
        ("install-packages.sh", ["vim  git"], {"packages": ["vim", "git"]}),
        ("install-packages.sh", ["vim", "git curl"], {"packages": ["vim", "git", "curl"]}),
        ("install-packages.sh", [""], {}),
        ("write-file", [], {}),
        ("write-file", "", {}),
    ],
)
def test_a_templates_args_become_a_built_ins_params(handler: str, args: object, params: dict[str, Any]) -> None:
    (step,) = judge(aws(action(input={"handler": handler, "args": args, "path": ""}))).steps
    assert step.kind is StepKind.HANDLER
    assert json.loads(step.input) == params


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("uptime", ("/usr/bin/uptime",)),
        ("/bin/echo,a,b c", ("/bin/echo", "a", "b c")),
        (r"echo, a\,b ,", ("/bin/echo", "a,b", "")),
        ("echo ok", ("/bin/echo", "ok")),
        ("echo 'a b' \"$HOME;ls\" '|' cat", ("/bin/echo", "a b", "$HOME;ls", "|", "cat")),
        ("echo,a,|,cat,>,$HOME", ("/bin/echo", "a", "|", "cat", ">", "$HOME")),
        (
            "echo https://example.com/a?b=1&c=2;d a->b \\> x",
            ("/bin/echo", "https://example.com/a?b=1&c=2;d", "a->b", ">", "x"),
        ),
        (r"echo a\,b", ("/bin/echo", "a,b")),
        ("echo,'a", ("/bin/echo", "'a")),
        ("echo,a\nb", ("/bin/echo", "a\nb")),
    ],
)
def test_a_command_is_split_and_never_given_to_a_shell(text: str, argv: tuple[str, ...]) -> None:
    (step,) = judge(command(text)).steps
    assert (step.kind, step.handler, step.argv, step.timeout_s) == (StepKind.COMMAND, "run-command", argv, 60)


@pytest.mark.parametrize(
    "program",
    ["/bin/sh", "sh", "/usr/bin/../bin/sh", "./uptime", "bin/echo", "/bin//echo", "Echo", "\uff55ptime", "/tmp/uptime"],
)
def test_a_program_that_is_not_listed_is_refused_by_name_with_the_key(program: str) -> None:
    message = refusal(command(f"{program},x,secret"))
    assert json.dumps(program) in message
    assert "handler.run-command.programs" in message
    assert "secret" not in message


def test_commands_need_the_handler_run_command_enabled() -> None:
    with pytest.raises(DocumentError, match=r"steps\[0\].action.type: handler \"run-command\" is not enabled"):
        plan(command("uptime"), size_bytes=1, namespace=Namespace(), enabled={}, rules=RULES)


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (aws(), "steps: is empty; give"),
        (aws(action(), version="2.0"), 'version: is not "1.0"'),
        ({"steps": [action()]}, "version: is missing"),
        (aws(action(), version=1.0), "version: is a number where a string belongs"),
        (aws(action(), includeStdOut="yes"), "includeStdOut: is neither true nor false"),
        (aws(3), "steps[0].action: is missing; add"),
        (aws({}), "steps[0].action: is missing; add"),
        (aws({"action": []}), "steps[0].action: is not an object"),
        (aws(action(), action(input=None)), "steps[1].action.input: is missing; add"),
        (aws(action(input="reboot")), "steps[0].action.input: is not an object"),
        (aws(action(type="runShell")), 'steps[0].action.type: is neither "runHandler" nor "runCommand"'),
        (aws(action(type=None)), "steps[0].action.type: is neither"),
        (aws(action(name=3)), "steps[0].action.name: is not a string"),
        (aws(action(ignoreStepFailure="maybe")), "steps[0].action.ignoreStepFailure: is neither"),
        (aws(action(allowStdErr=-1)), "steps[0].action.allowStdErr: is not a number of lines"),
        (aws(action(allowStdErr=True)), "steps[0].action.allowStdErr: is not a number of lines"),
        (aws(action(input={})), "steps[0].action.input.handler: is missing; name"),
        (aws(action(input={"handler": "../reboot.sh"})), '"../reboot" is not enabled'),
        (aws(action(input={"handler": 3})), "steps[0].action.input.handler: is not a string"),
        (aws(action(input={"handler": "reboot", "args": "x"})), "steps[0].action.input.args: is not an array of"),
        (aws(action(input={"handler": "reboot", "args": [1]})), "steps[0].action.input.args: is not an array of"),
        (aws(action(input={"handler": "reboot", "args": ["a\0b"]})), "steps[0].action.input.args: holds a NUL"),
        (aws(action(input={"handler": "reboot", "path": "/tmp"})), "steps[0].action.input.path: is none of handlers."),
        (aws(action(input={"handler": "reboot", "path": "/opt/team"})), "is not served from there"),
        (aws(action(input={"handler": "write-file", "path": SCRIPTS})), "is not served from there"),
        (aws(action(input={"handler": "write-file", "args": ["x"]})), "takes no args"),
        (aws(action(input={"handler": "download-file", "args": ["x", "y", "z"]})), "takes at most 2 args"),
        (aws(action(runAsUser="root")), "steps[0].action.runAsUser: is not allowed on this device"),
        (aws(action(runAsUser=0)), "steps[0].action.runAsUser: is not a string"),
        (command("uptime", runAsUser="kiosk"), "steps[0].action.runAsUser: another user needs a privileged unit"),
        (
            aws(action(input={"handler": "write-file"}, runAsUser="kiosk")),
            "steps[0].action.runAsUser: another user needs a privileged unit",
        ),
        (command(""), "steps[0].action.input.command: is empty"),
        (command(" "), "steps[0].action.input.command: is empty"),
        (command(",a"), "steps[0].action.input.command: is empty"),
        (command("echo 'a"), "steps[0].action.input.command: has a quotation that does not end"),
        (command("echo,a\0"), "steps[0].action.input.command: holds a NUL"),
        (aws(action(), finalStep=[]), "finalStep: is an array; write one step"),
        (aws(action(), finalStep=action(type="x")), "finalStep.action.type: is neither"),
        (
            aws(action(), action(input={"handler": "copy"})),
            'steps[1].action.input.handler: handler "copy" is not enabled',
        ),
        ({"operation": "reboot.sh", "allowStdErr": "many"}, "allowStdErr: is not a number of lines"),
        ({"operation": "reboot.sh", "path": 3}, "path: is not a string"),
        ({"operation": "reboot.sh", "path": "/tmp"}, "path: is none of handlers.directories"),
        ({"operation": "write-file", "args": ["x"]}, "args: handler"),
        ({"operation": ".sh"}, 'operation: handler ".sh" is not enabled'),
        ({"operation": "write-file", "x": math.nan}, "holds NaN"),
        ({"operation": "write-file", "x": -math.inf}, "holds NaN"),
        ({"operation": "write-file", "x": 10**5000}, "a number beyond 1e308"),
        ({"operation": "write-file", "x": ["\ud800"]}, "surrogate pair"),
        ({"operation": "write-file", "\udfff": 1}, "surrogate pair"),
    ],
)
def test_a_document_that_cannot_run_is_refused_by_member_and_fix(document: object, part: str) -> None:
    assert part in refusal(document)


def test_a_document_ten_thousand_levels_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert "nested deeper than 100 levels" in refusal({"operation": "write-file", "x": deep})


def test_all_steps_are_judged_before_a_plan_exists() -> None:
    assert "steps[2]" in refusal(aws(action(), action(), command("/bin/sh")["steps"][0]))


def test_a_plan_shows_nothing_of_the_document() -> None:
    made = judge(command("echo,secret"))
    assert "secret" not in repr(made)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters()), children),
    max_leaves=20,
)
member_names = st.sampled_from(
    [
        "operation",
        "params",
        "steps",
        "version",
        "args",
        "path",
        "finalStep",
        "conditions",
        "includeStdOut",
        "allowStdErr",
    ]
)
action_members = st.sampled_from(
    ["name", "type", "input", "runAsUser", "allowStdErr", "ignoreStepFailure", "handler", "args", "path", "command"]
)
words = st.sampled_from(
    ["reboot", "reboot.sh", "write-file", "1.0", "runHandler", "runCommand", "uptime", SCRIPTS, "true"]
)
leaves = json_values | words
inputs = st.dictionaries(action_members, leaves | st.lists(leaves))
actions = st.fixed_dictionaries({"action": st.dictionaries(action_members, leaves | inputs)})
documents = st.dictionaries(member_names, leaves | st.lists(actions | leaves) | actions) | json_values


@LARGE
@given(document=documents, bound=st.sampled_from(["", "write-file", "copy"]))
def test_any_json_becomes_a_plan_or_is_refused_in_printable_words(document: object, bound: str) -> None:
    try:
        made = judge(document, namespace=Namespace("n", bound))
    except DocumentError as error:
        made, reason = None, str(error)
    else:
        reason = ""
    assert (made is None) is bool(reason)
    assert reason.isprintable()
    for step in made.steps if made else ():
        assert isinstance(json.loads(step.input), dict)
        assert all("\0" not in argument and argument.encode() is not None for argument in step.argv)
