"""A privileged handler's first process believes root's configuration, and the agent only the params and the name."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent import privileged
from iot_jobs_agent.privileged import FACTS, approved
from iot_jobs_agent.shim.entry import RefusedError

TOKEN = "0123456789abcdef" * 2
GOOD = {
    "JOB_ID": "job-1",
    "JOB_NAMESPACE": "",
    "JOB_THING_NAME": "thing:1",
    "JOB_EXECUTION_NUMBER": "1",
    "JOB_STEP": "0",
    "JOB_ATTEMPT": "2",
    "JOB_PHASE": "resume",
    "JOB_REASON": "power-loss",
    "JOB_DEADLINE_S": "600",
    "JOB_TOKEN": TOKEN,
}
OWN = {"PATH": privileged.PATH, "LANG": "C.UTF-8", "JOB_PROTOCOL": "1", "JOB_CONTROL_FD": "3"}


@pytest.fixture(autouse=True)
def _root_is_who_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "OWNERS", frozenset({0, os.getuid()}))


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    directory = tmp_path / "handlers"
    directory.mkdir(mode=0o755)
    (directory / "fix").write_text("#!/bin/sh\n")
    (directory / "fix").chmod(0o755)
    return directory


@pytest.fixture
def config(tmp_path: Path, handlers: Path) -> Path:
    return written(tmp_path, handlers)


def written(tmp_path: Path, handlers: Path, *, launcher: str = "units", enabled: str = "fix", more: str = "") -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        f'[handlers]\nlauncher = "{launcher}"\nenabled = ["{enabled}"]\ndirectories = ["{handlers}"]\n'
        + (more or '[handler.fix]\nprofile = "packages"\ntimeout_s = 5\nallowed = ["a"]\n')
    )
    file.chmod(0o640)
    return file


def request(**changes: Any) -> dict[str, Any]:
    return {
        "handler": "fix",
        "kind": "handler",
        "argv": ["/bin/sh", "-c", "echo of the agent"],
        "env": GOOD | {"LD_PRELOAD": "/tmp/x.so", "PATH": "/tmp", "JOB_SETTINGS_FILE": "/tmp/x", "PYTHONPATH": "/tmp"},
        "settings": '{"allowed": ["b"]}',
        "quota_mb": 7,
        "is_fresh": True,
        **changes,
    }


def refusal(config: Path, profile: str = "packages", **changes: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        approved(request(**changes), profile, config)
    return str(refused.value)


def test_program_settings_and_environment_are_roots_whatever_the_request_says(config: Path, handlers: Path) -> None:
    found = approved(request(), "packages", config)
    assert found["argv"] == [str(handlers / "fix"), "resume"]
    assert json.loads(found["settings"]) == {"allowed": ["a"]}
    assert found["env"] == GOOD | OWN
    assert (found["kind"], found["quota_mb"], found["is_fresh"]) == ("handler", 7, True)


@pytest.mark.parametrize("key", FACTS)
@pytest.mark.parametrize(
    "value", ["/etc/passwd", "run\n", "$(reboot)", "x" * 200, "\0", "é", {"a": 1}, "../x", "--option=x"]
)
def test_a_fact_of_another_form_than_the_agents_is_not_passed_on(config: Path, key: str, value: object) -> None:
    found = approved(request(env=GOOD | {key: value}), "packages", config)
    assert found["env"] == {name: text for name, text in (GOOD | OWN).items() if name != key}


def test_a_request_without_a_phase_runs_it(config: Path) -> None:
    assert approved(request(env={}), "packages", config)["argv"][-1] == "run"


@pytest.mark.parametrize("name", ["other", "", None, "../fix", "fix.sh", ["fix"]])
def test_a_handler_that_is_not_enabled_is_refused(config: Path, name: object) -> None:
    assert refusal(config, handler=name) == f"{config} does not enable handler {str(name)!r} in a unit of its own"


def test_a_handler_that_roots_configuration_gives_another_profile_or_none_is_refused(
    tmp_path: Path, config: Path, handlers: Path
) -> None:
    assert refusal(config, "services") == f'{config} does not say profile = "services" in [handler.fix]'
    written(tmp_path, handlers, more="[handler.fix]\ntimeout_s = 5\n")
    assert refusal(config) == f'{config} does not say profile = "packages" in [handler.fix]'


def test_the_profile_of_all_handlers_makes_none_of_them_privileged(tmp_path: Path, handlers: Path) -> None:
    file = written(tmp_path, handlers, more="[handler.fix]\ntimeout_s = 5\n")
    file.write_text(file.read_text().replace("[handlers]\n", '[handlers]\nprofile = "packages"\n'))
    assert "does not say profile" in refusal(file)


def test_where_handlers_run_the_plain_way_none_is_started(tmp_path: Path, handlers: Path) -> None:
    file = written(tmp_path, handlers, launcher="plain")
    assert refusal(file) == f"{file} does not enable handler 'fix' in a unit of its own"


@pytest.mark.parametrize("kind", ["command", "", None])
def test_a_command_of_a_document_is_refused(config: Path, kind: object) -> None:
    assert refusal(config, kind=kind) == "profile packages runs handlers, not commands of a document"


def test_a_handler_that_others_may_write_is_refused(config: Path, handlers: Path) -> None:
    (handlers / "fix").chmod(0o777)
    assert refusal(config).startswith(f"handler fix is unavailable: {handlers}/fix")


def test_a_handler_that_is_nowhere_is_refused(config: Path, handlers: Path) -> None:
    (handlers / "fix").unlink()
    assert refusal(config).startswith("handler fix is unavailable: no built-in")


def test_a_program_that_a_built_in_runs_and_others_may_write_is_refused(tmp_path: Path, handlers: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    more = f'[handler.run-command]\nprofile = "packages"\nprograms = ["{program}"]\n'
    file = written(tmp_path, handlers, enabled="run-command", more=more)
    assert refusal(file, handler="run-command").startswith(f"handler run-command is unavailable: {program}")
    program.chmod(0o755)
    assert approved(request(handler="run-command"), "packages", file)["argv"][-1] == "resume"


def test_a_configuration_that_others_may_write_is_not_believed(config: Path) -> None:
    config.chmod(0o666)
    assert refusal(config).startswith(f"the configuration is not believed: {config}")


def test_a_configuration_of_another_user_than_root_is_not_believed(
    config: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    os.chown(config, 65534, 65534)
    assert refusal(config).startswith(f"the configuration is not believed: {config}")


@pytest.mark.parametrize("text", ["", "[handlers\n", "[handlers]\nlauncher = 5\n", "[handlers]\nunknown = 1\n", "\0"])
def test_a_bad_configuration_starts_nothing(config: Path, text: str) -> None:
    config.write_text(text)
    assert text == "" or refusal(config).startswith("the configuration cannot be used: ")
    assert refusal(config)


def test_without_a_configuration_nothing_is_started(config: Path) -> None:
    config.unlink()
    assert refusal(config).startswith("the configuration is not believed: ")


def test_a_unit_that_is_not_roots_reads_the_configuration_as_its_credential(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def first_process(instance: str, approve: Callable[[Any], Any]) -> int:
        seen.append((instance, approve(request())["argv"]))
        return 0

    monkeypatch.setattr(privileged.entry, "main", first_process)
    monkeypatch.setattr(privileged, "CONFIG", config)
    assert privileged.main("hash", "packages") == 0
    copies = config.parent / "copies"
    copies.mkdir()
    (copies / "config.toml").write_bytes(config.read_bytes())
    config.write_text("what this user may not read")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    assert privileged.main("hash", "packages") == 0
    assert [instance for instance, _ in seen] == ["hash", "hash"]
    assert seen[0] == seen[1]
    config.chmod(0o666)
    with pytest.raises(RefusedError, match="is not believed"):
        privileged.main("hash", "packages")
