"""Documents of our own making, as fleets would send them: five and more siblings of each row of what came from outside.

Each begins on a device where nothing is configured. `runs` is what its author means, in the words of `said`; `refusal`
is how the first reason begins that asks for another document; `by_hand` is that document where its correction takes a
person. What the device has to be told, and what is mechanical about the document, is read from the reasons.
"""

from typing import Any, NamedTuple

from iot_jobs_agent.core.job import Plan, StepKind

URL = "https://example.com/a"


class Sibling(NamedTuple):
    id: str
    document: Any
    runs: list[str]
    refusal: str = ""
    by_hand: Any = None


def steps(kind: str, given: Any, *, version: Any = "1.0", step: Any = None, top: Any = None, **action: Any) -> Any:
    """A document of one step, with more members beside `action`, at the top, and in the action."""
    inner = {"action": {"name": "Step", "type": kind, "input": given, **action}, **(step or {})}
    return {"version": version, "steps": [inner], **(top or {})}


def deploy(*, args: Any = ("a",), **more: Any) -> Any:
    return steps("runHandler", {"handler": "deploy.sh", "args": list(args)}, **more)


def echo(command: str, **more: Any) -> Any:
    return steps("runCommand", {"command": command, **more})


def said(made: Plan) -> list[str]:
    """What a plan runs: `NAME(arguments) as they are` of a plain command, `NAME < params` of a handler."""
    return [
        f"{step.handler}{list(step.argv[1:])}" if step.kind is StepKind.COMMAND else f"{step.handler} < {step.input}"
        for step in made.steps
    ]


BACKUP = {  # the schema in the manifest of the executable `backup`
    "type": "object",
    "properties": {"target": {"enum": ["nas", "usb"]}, "keep": {"type": "integer", "minimum": 1}},
    "required": ["target"],
    "additionalProperties": False,
}
DEPLOYED = ["deploy['', 'a']"]
ECHOED = ["run-command['hello']"]
NAS = 'backup < {"target": "nas"}'
E1 = [
    Sibling("e1-sibling-camel-case", {"operation": "updateFirmware", "to": "2.1"}, ['updateFirmware < {"to": "2.1"}']),
    Sibling(
        "e1-sibling-reversed-domain",
        {"operation": "com.example.modem-reset", "params": {"slot": 1}},
        ['com.example.modem-reset < {"slot": 1}'],
    ),
    Sibling(
        "e1-sibling-sentence",
        {"operation": "Update firmware (stable)", "url": URL},
        [f'anything < {{"url": "{URL}"}}'],
    ),
    Sibling("e1-sibling-other-alphabet", {"operation": "Обновить"}, ["anything < {}"]),
    Sibling("e1-sibling-beyond-sixteen-bits", {"operation": "go 🚀"}, ["anything < {}"]),
    Sibling("e1-sibling-windows-path", {"operation": "C:\\jobs\\update.sh", "args": ["a"]}, ["anything['', 'a']"]),
    Sibling("e1-sibling-url-with-token", {"operation": f"{URL}?token=secret"}, ["anything < {}"]),
    Sibling("e1-sibling-long-sentence", {"operation": "please " * 20}, ["anything < {}"]),
    Sibling(
        "e1-sibling-python-file-in-a-step",
        steps("runHandler", {"handler": "install_app.py", "args": ["v2"]}, runAsUser="kiosk"),
        ["install_app.py['kiosk', 'v2']"],
    ),
    Sibling("e1-sibling-program", echo("uname,-r"), ["run-command['-r']"]),
]
E2 = [
    Sibling("e2-sibling-cmd", {"cmd": "update"}, ['anything < {"cmd": "update"}']),
    Sibling("e2-sibling-ota-object", {"ota": {"url": URL}}, [f'anything < {{"ota": {{"url": "{URL}"}}}}']),
    Sibling("e2-sibling-version-and-payload", {"version": 2, "data": "x"}, ['anything < {"version": 2, "data": "x"}']),
    Sibling("e2-sibling-only-a-number", {"42": 1}, ['anything < {"42": 1}']),
    Sibling("e2-sibling-empty", {}, ["anything < {}"]),
    Sibling("e2-sibling-job-type", {"jobType": "config", "x": []}, ['anything < {"jobType": "config", "x": []}']),
    Sibling(
        "e2-sibling-capital-operation", {"Operation": "deploy.sh", "args": ["a"]}, DEPLOYED, "the document has neither"
    ),
    Sibling("e2-sibling-capital-steps", {"version": "1.0", "Steps": deploy()["steps"]}, DEPLOYED, "the document has"),
]
E3 = [
    Sibling("e3-sibling-metadata", {"operation": "deploy", "args": ["a"], "jobId": "7", "createdBy": "ci"}, DEPLOYED),
    Sibling("e3-sibling-arguments", {"operation": "deploy", "arguments": ["a"]}, DEPLOYED, "arguments: is not known"),
    Sibling("e3-sibling-capital-args", {"operation": "deploy", "Args": ["a"]}, DEPLOYED, "Args: is not known"),
    Sibling("e3-sibling-run-as-user", {"operation": "deploy", "runAsUser": "kiosk"}, ["deploy['kiosk']"]),
    Sibling("e3-sibling-run-as", {"operation": "deploy.sh", "runas": "kiosk"}, ["deploy['']"], "runas: would change"),
    Sibling("e3-sibling-allow-stderr", {"operation": "deploy", "allowStdErr": "5"}, ["deploy['']"]),
    Sibling(
        "e3-sibling-ignored-failure",
        {"operation": "deploy.sh", "args": ["a"], "ignoreStepFailure": "true"},
        DEPLOYED,
        "ignoreStepFailure: would change what runs, but this form does not have it; write it into the `action`",
        deploy(ignoreStepFailure="true"),
    ),
    Sibling(
        "e3-sibling-dry-run",
        {"operation": "deploy", "args": ["a"], "dryRun": True},
        DEPLOYED,
        "dryRun: would change what runs",
    ),
    Sibling(
        "e3-sibling-max-retries",
        {"operation": "deploy.sh", "args": ["a"], "maxRetries": 3},
        DEPLOYED,
        "maxRetries: would",
    ),
    Sibling(
        "e3-sibling-number", {"operation": "deploy", "args": ["a", 5]}, ["deploy['', 'a', '5']"], "args: is not an"
    ),
    Sibling(
        "e3-sibling-param-beside-args",
        {"operation": "backup", "args": ["-v"], "target": "nas"},
        [NAS],
        "target: would change what runs, but this form does not have it; give either `args`, or `params`",
        {"operation": "backup", "params": {"target": "nas"}},
    ),
]
E4 = [
    Sibling(
        "e4-sibling-user-beside-action",
        deploy(step={"runAsUser": "kiosk"}),
        ["deploy['kiosk', 'a']"],
        "steps[0].runAsUser: would",
        deploy(runAsUser="kiosk"),
    ),
    Sibling(
        "e4-sibling-user-at-the-top",
        deploy(top={"runAsUser": "kiosk"}),
        ["deploy['kiosk', 'a']"],
        "runAsUser: would change",
        deploy(runAsUser="kiosk"),
    ),
    Sibling("e4-sibling-timeout-at-the-top", deploy(top={"timeoutInMinutes": 5}), DEPLOYED, "timeoutInMinutes: would"),
    Sibling("e4-sibling-rollback", deploy(top={"rollbackSteps": []}), DEPLOYED, "rollbackSteps: would change"),
    Sibling("e4-sibling-condition", deploy(condition="x"), DEPLOYED, "steps[0].action.condition: would change"),
    Sibling(
        "e4-sibling-stdout-in-the-action",
        deploy(includeStdOut="false"),
        DEPLOYED,
        "steps[0].action.includeStdOut: would change",
        deploy(top={"includeStdOut": "false"}),
    ),
    Sibling(
        "e4-sibling-final-steps-in-an-array",
        deploy(top={"finalStep": deploy()["steps"]}),
        DEPLOYED * 2,
        "finalStep: is an array; write one step",
        deploy(top={"finalStep": deploy()["steps"][0]}),
    ),
    Sibling("e4-sibling-working-directory", echo("echo,hello", cwd="/"), ECHOED, "steps[0].action.input.cwd: would"),
    Sibling("e4-sibling-sudo", echo("echo,hello", sudo=True), ECHOED, "steps[0].action.input.sudo: would change"),
    Sibling(
        "e4-sibling-parameters",
        steps("runHandler", {"handler": "deploy.sh", "parameters": ["a"]}),
        DEPLOYED,
        "steps[0].action.input.parameters: would change what runs, but this form does not have it; write the",
        deploy(),
    ),
    Sibling(
        "e4-sibling-redirection",
        echo("echo hello > /tmp/x"),
        ["run-command['hello', '>', '/tmp/x']"],
        'steps[0].action.input.command: holds ">", which only a shell obeys',
        echo("echo hello '>' /tmp/x"),
    ),
    Sibling(
        "e4-sibling-two-commands",
        echo("echo a && echo b"),
        ["run-command['a']", "run-command['b']"],
        'steps[0].action.input.command: holds "&&"',
        {"version": "1.0", "steps": [*echo("echo a")["steps"], *echo("echo b")["steps"]]},
    ),
    Sibling(
        "e4-sibling-variable",
        echo("echo $HOME"),
        ["run-command['$HOME']"],
        'steps[0].action.input.command: holds "$H"',
        echo("echo '$HOME'"),
    ),
    Sibling(
        "e4-sibling-negated-condition",
        deploy(top={"conditions": [{"key": "architecture", "value": ["x"], "type": "stringEqual", "not": True}]}),
        DEPLOYED,
        "conditions[0].not: is not known here and might change",
        deploy(),
    ),
]
E5 = [  # of other agents, but for the last ones: their reason without unknown = "ignore", and the same meant for us
    Sibling(
        "e5-sibling-build",
        {"version": "1.0", "steps": [{"run": "make"}]},
        ["run-command[]"],
        "steps[0].action: is missing",
        echo("true"),
    ),
    Sibling(
        "e5-sibling-workflow",
        {"version": "1.0", "steps": ["checkout"]},
        ["run-command[]"],
        "steps[0].action: is missing",
        echo("true"),
    ),
    Sibling(
        "e5-sibling-no-version",
        {"steps": [{"uses": "checkout"}]},
        ["run-command[]"],
        "version: is missing",
        echo("true"),
    ),
    Sibling("e5-sibling-text", "restart", ["deploy < {}"], "the document is not", {"operation": "deploy"}),
    Sibling("e5-sibling-array", [deploy()], DEPLOYED, "the document is not a JSON object", deploy()),
    Sibling(
        "e5-sibling-operation-object",
        {"operation": {"name": "deploy"}},
        ["deploy < {}"],
        "`operation` is not the",
        {"operation": "deploy"},
    ),
    Sibling(
        "e5-sibling-another-type",
        steps("runLambda", {"handler": "deploy.sh"}),
        ["deploy['']"],
        "steps[0].action.type: is neither",
        steps("runHandler", {"handler": "deploy.sh"}),
    ),
]
E6 = [
    *(
        Sibling(f"e6-sibling-{name}", deploy(version=version), DEPLOYED, reason)
        for name, version, reason in [
            ("integer", 1, "version: is a number where a string belongs"),
            ("array", ["1.0"], "version: is an array where a string belongs"),
            ("boolean", True, "version: is a boolean where a string belongs"),
            ("v", "v1.0", 'version: is not "1.0"'),
            ("three-parts", "1.0.0", 'version: is not "1.0"'),
            ("short", "1", 'version: is not "1.0"'),
            ("null", None, "version: is missing"),
        ]
    ),
    Sibling("e6-sibling-capital", {"Version": "1.0", "steps": deploy()["steps"]}, DEPLOYED, "version: is missing"),
]
PRESIGNED = "https://example.com/" + "a" * 1500
E7 = [
    Sibling("e7-sibling-40-urls-in-args", deploy(args=[PRESIGNED] * 40), [f"deploy{['', *[PRESIGNED] * 40]}"]),
    Sibling(
        "e7-sibling-one-long-text", {"operation": "deploy.sh", "args": ["é" * 60_000]}, [f"deploy{['', 'é' * 60_000]}"]
    ),
    Sibling("e7-sibling-by-member", {"url": "u" * 100_000}, [f'anything < {{"url": "{"u" * 100_000}"}}']),
    Sibling(
        "e7-sibling-many-members",
        {"operation": "deploy.sh", "args": ["a"], **{f"x{n}": n for n in range(8000)}},
        DEPLOYED,
    ),
    Sibling("e7-sibling-many-steps", {"version": "1.0", "steps": deploy()["steps"] * 600}, DEPLOYED * 600),
    Sibling(
        "e7-sibling-too-large",
        {"operation": "deploy.sh", "args": ["u" * 140_000]},
        DEPLOYED,
        "the document has 140",
        {"operation": "deploy.sh", "args": ["a"]},
    ),
]
E8 = [
    Sibling(
        "e8-sibling-text-for-a-number",
        {"operation": "backup", "target": "nas", "keep": "3"},
        [NAS],
        "params.keep: should be a whole number, and is a string",
        {"operation": "backup", "target": "nas"},
    ),
    Sibling(
        "e8-sibling-half",
        {"operation": "backup", "params": {"target": "nas", "keep": 0.5}},
        [NAS],
        "params.keep: should be a whole number, and is a number with a fraction",
        {"operation": "backup", "params": {"target": "nas"}},
    ),
    Sibling(
        "e8-sibling-misspelt",
        {"operation": "backup", "params": {"target": "nas", "keeep": 3}},
        [NAS],
        "params.keeep: is not known to the handler",
    ),
    Sibling(
        "e8-sibling-missing",
        {"operation": "backup"},
        [NAS],
        "params.target: is missing; add it",
        {"operation": "backup", "target": "nas"},
    ),
    Sibling(
        "e8-sibling-another-word",
        {"operation": "backup", "target": "tape"},
        [NAS],
        'params.target: does not fit "enum": ["nas", "usb"]',
        {"operation": "backup", "target": "nas"},
    ),
    Sibling(
        "e8-sibling-timestamp-beside-params",
        {"operation": "backup", "params": {"target": "nas"}, "timestamp": 1},
        [NAS],
        "timestamp: stands beside `params`",
    ),
    Sibling(
        "e8-sibling-comment-beside-params", {"_comment": "c", "operation": "backup", "params": {"target": "nas"}}, [NAS]
    ),
]
SIBLINGS = [*E1, *E2, *E3, *E4, *E5, *E6, *E7, *E8]
