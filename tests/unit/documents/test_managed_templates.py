"""AWS's eight managed job templates, as the console makes documents of them, run through the built-ins.

Source: AWS IoT developer guide, "Managed job templates". What was not given arrives as "" or not at all.
"""

import importlib
import json
from typing import Any

import pytest

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.core.job import StepKind
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import EnabledHandler, Namespace, Rules
from iot_jobs_agent.handler import Handler

RULES = Rules(directories=("/etc/iot-jobs-agent/handlers",), run_as_users=(), own_user="agent", programs=("/bin/echo",))


def built_in(name: str) -> Handler[Any]:
    module, _, attribute = BUILT_INS[name].spec.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Handler)
    return found


ENABLED = {name: EnabledHandler(argv=("worker", name), **dict(built_in(name).manifest)) for name in BUILT_INS}


def template(name: str, handler: str, args: list[str], optional: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {"handler": handler} | ({"args": args} if args else {})
    action = {"name": name, "type": "runHandler", "input": given}
    if optional is not None:
        given["path"] = action["runAsUser"] = optional
    return {"version": "1.0", "steps": [{"action": action}]}


@pytest.mark.parametrize("optional", ["", None])
@pytest.mark.parametrize(
    ("name", "script", "args", "params"),
    [
        ("Reboot", "reboot.sh", [], {}),
        (
            "Download-File",
            "download-file.sh",
            ["https://example.com/f?X-Amz-Signature=s", "/srv/f"],
            {"url": "https://example.com/f?X-Amz-Signature=s", "path": "/srv/f"},
        ),
        ("Install-Application", "install-packages.sh", ["vim git=1:2.0-1"], {"packages": ["vim", "git=1:2.0-1"]}),
        ("Remove-Application", "remove-packages.sh", ["vim git"], {"packages": ["vim", "git"]}),
        ("Start-Application", "start-services.sh", ["oven door"], {"services": ["oven", "door"]}),
        ("Stop-Application", "stop-services.sh", ["oven"], {"services": ["oven"]}),
        (
            "Restart-Application",
            "restart-services.sh",
            [" oven  door.service "],
            {"services": ["oven", "door.service"]},
        ),
    ],
)
def test_a_managed_template_becomes_a_plan_that_its_built_in_takes(
    name: str, script: str, args: list[str], params: dict[str, Any], optional: str | None
) -> None:
    document = template(name, script, args, optional)
    (step,) = plan(document, size_bytes=500, namespace=Namespace(), enabled=ENABLED, rules=RULES).steps
    assert (step.name, step.handler, step.kind) == (name, script.removesuffix(".sh"), StepKind.HANDLER)
    assert json.loads(step.input) == params
    built_in(step.handler).params.model_validate_json(step.input)
    declared = built_in(step.handler).manifest
    for limit in ("timeout_s", "max_timeout_s", "grace_s", "on_interrupt", "exclusive", "may_reboot", "quota_mb"):
        assert getattr(step, limit) == getattr(declared, limit), limit


@pytest.mark.parametrize("optional", [{"runAsUser": ""}, {}])
def test_run_command_becomes_a_plan(optional: dict[str, str]) -> None:
    action = {"name": "Run-Command", "type": "runCommand", "input": {"command": "echo,a"}, **optional}
    document = {"version": "1.0", "steps": [{"action": action}]}
    (step,) = plan(document, size_bytes=500, namespace=Namespace(), enabled=ENABLED, rules=RULES).steps
    assert (step.kind, step.argv) == (StepKind.COMMAND, ("/bin/echo", "a"))
