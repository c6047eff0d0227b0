import json
import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from iot_jobs_agent.core.job import OnInterrupt
from iot_jobs_agent.handler import Handler, Job, Manifest, Outcome


class Params(BaseModel, frozen=True, extra="forbid"):
    unit: str


def restart(params: Params, job: Job) -> Outcome:
    job.progress(10, "restarting")
    return Outcome.succeeded(unit=params.unit)


def test_what_is_not_declared_is_as_the_contract_says() -> None:
    assert Manifest(name="a").model_dump(mode="json") == {
        "name": "a",
        "summary": "",
        "params": {},
        "timeout_s": 3600,
        "max_timeout_s": 3600,
        "grace_s": 30,
        "on_interrupt": "fail",
        "exclusive": False,
        "may_reboot": False,
        "retry_limit": 3,
        "retry_delay_s": 60,
        "quota_mb": 256,
    }


def test_a_handler_declares_its_params_as_a_schema() -> None:
    manifest = Handler(name="restart", params=Params, run=restart, timeout_s=120, on_interrupt="resume").manifest
    assert manifest.params["required"] == ["unit"]
    assert (manifest.timeout_s, manifest.max_timeout_s, manifest.on_interrupt) == (120, 120, OnInterrupt.RESUME)


@pytest.mark.parametrize("name", ["", "_a", "a.sh", "a.manifest.json", "a b", "-a", "a/b", "../a", "a" * 65, "a\n"])
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        Manifest(name=name)


def test_an_unknown_member_makes_a_manifest_invalid() -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({"name": "a", "timeout": 5})


@pytest.mark.parametrize("wrong", [{"may_reboot": "true"}, {"grace_s": True}, {"timeout_s": "60"}, {"exclusive": 1}])
def test_a_member_of_another_type_makes_a_manifest_invalid(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({"name": "a", **wrong})
    assert Manifest.model_validate({"name": "a", "timeout_s": 60, "on_interrupt": "rerun"}).timeout_s == 60


def test_outcomes_say_what_they_are() -> None:
    assert Outcome.succeeded(a=1) == Outcome("succeeded", "", {"a": 1})
    made = [Outcome.failed("r"), Outcome.rejected("r"), Outcome.retry("r"), Outcome.reboot("r")]
    assert [(each.kind, each.reason) for each in made] == [
        ("failed", "r"),
        ("rejected", "r"),
        ("retry", "r"),
        ("reboot", "r"),
    ]


def test_importing_the_contract_loads_neither_the_agent_nor_what_only_the_agent_needs() -> None:
    script = "import iot_jobs_agent.handler, json, sys; print(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-I", "-c", script]  # without an environment: nothing that measures loads more
    loaded = json.loads(subprocess.run(command, capture_output=True, check=True, env={}).stdout)
    assert {name for name in loaded if name.split(".")[0] == "iot_jobs_agent"} == {
        "iot_jobs_agent",
        "iot_jobs_agent.core",
        "iot_jobs_agent.core.job",
        "iot_jobs_agent.core.value",
        "iot_jobs_agent.errors",
        "iot_jobs_agent.handler",
        "iot_jobs_agent.handler_name",
        "iot_jobs_agent.shim",
        "iot_jobs_agent.shim.protocol",
    }
    assert not {"asyncio", "awscrt", "structlog", "sqlite3"} & set(loaded)
