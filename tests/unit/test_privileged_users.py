"""What runs as a user of the device is what some document could ask for, whatever the request says."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent import privileged
from iot_jobs_agent.privileged import approved
from iot_jobs_agent.shim.entry import RefusedError

ME = pwd.getpwuid(os.getuid())
AS_ME = f"as-{ME.pw_name}"
OWN = {"USER": ME.pw_name, "LOGNAME": ME.pw_name, "PATH": privileged.PATH, "LANG": "C.UTF-8", "JOB_PROTOCOL": "1"}
TOLD = {"JOB_ID": "job-1", "JOB_NAMESPACE": "", "JOB_PHASE": "resume"}
ENABLED = '"fix", "run-command", "download-file", "kept"'


@pytest.fixture(autouse=True)
def _root_is_who_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileged, "OWNERS", frozenset({0, os.getuid()}))


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    directory = tmp_path / "handlers"
    directory.mkdir(mode=0o755)
    for name in ("fix.sh", "kept"):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


def written(
    handlers: Path, *, users: str = ME.pw_name, launcher: str = "units", enabled: str = ENABLED, more: str = ""
) -> Path:
    file = handlers.parent / "config.toml"
    file.write_text(
        f'[handlers]\nlauncher = "{launcher}"\nenabled = [{enabled}]\ndirectories = ["{handlers}"]\n'
        f'run_as_users = ["{users}"]\n[handler.run-command]\nprograms = ["/bin/echo"]\n'
        '[handler.kept]\nprofile = "packages"\n[handler.download-file]\nroots = ["/srv/a"]\n' + more
    )
    file.chmod(0o640)
    return file


@pytest.fixture
def config(handlers: Path) -> Path:
    return written(handlers)


def request(handler: str, *argv: object, kind: str = "command", **changes: Any) -> dict[str, Any]:
    forged = {"LD_PRELOAD": "/tmp/x.so", "PATH": "/tmp", "HOME": "/tmp", "USER": "root", "BASH_ENV": "/tmp/x"}
    return {"handler": handler, "kind": kind, "argv": list(argv), "env": TOLD | forged, "quota_mb": 7, **changes}


def refusal(config: Path, asked: dict[str, Any], profile: str = AS_ME) -> str:
    with pytest.raises(RefusedError) as refused:
        approved(asked, profile, config)
    return str(refused.value)


def test_a_script_gets_the_user_first_and_its_arguments_and_nothing_else_of_the_request(
    config: Path, handlers: Path
) -> None:
    argv = [f"{handlers}/fix.sh", ME.pw_name, "a b", "", "--c"]
    found = approved(request("fix", *argv, settings="{}", job="forged", home="/tmp"), AS_ME, config)
    assert found["argv"] == argv
    assert found["env"] == TOLD | OWN
    assert (found["home"], found["job"], found["settings"], found["quota_mb"]) == (ME.pw_dir, "{}", "{}", 7)


def test_a_listed_program_gets_its_arguments(config: Path) -> None:
    found = approved(request("run-command", "/bin/echo", "hi"), AS_ME, config)
    assert (found["argv"], found["env"], found["home"]) == (["/bin/echo", "hi"], TOLD | OWN, ME.pw_dir)


def test_a_python_handler_gets_its_settings_of_root_and_its_phase(config: Path) -> None:
    found = approved(request("download-file", "/bin/sh", kind="handler", settings='{"roots": ["/"]}'), AS_ME, config)
    assert found["argv"][-2:] == ["iot_jobs_handlers.download_file:HANDLER", "resume"]
    assert json.loads(found["settings"]) == {"roots": ["/srv/a"]}
    assert (found["env"], found["home"]) == (TOLD | OWN | {"JOB_CONTROL_FD": "3"}, ME.pw_dir)
    assert "job" not in found


SCRIPT = "HANDLERS/fix.sh"


@pytest.mark.parametrize(
    ("handler", "argv"),
    [
        ("fix", ["/bin/sh", "-c", "id"]),
        ("fix", []),
        ("fix", [SCRIPT]),
        ("fix", [SCRIPT, "kiosk", "x"]),
        ("fix", [SCRIPT, "", ME.pw_name]),
        ("fix", ["/bin/echo", "hi"]),
        ("fix", ["/bin/sh", SCRIPT, ME.pw_name]),
        ("fix", ["HANDLERS/../handlers/fix.sh", ME.pw_name]),
        ("run-command", ["/bin/sh"]),
        ("run-command", ["echo", "hi"]),
        ("run-command", ["/bin/../bin/echo"]),
        ("run-command", []),
        ("download-file", ["/bin/echo", "hi"]),
        ("download-file", ["worker", ME.pw_name]),
    ],
)
def test_a_command_that_no_document_can_ask_for_is_refused(
    config: Path, handlers: Path, handler: str, argv: list[str]
) -> None:
    said = refusal(config, request(handler, *(word.replace("HANDLERS", str(handlers)) for word in argv)))
    assert said == (
        f"profile {AS_ME} runs only what a document can ask for: scripts with the user first, listed programs, "
        "Python handlers"
    )


@pytest.mark.parametrize("word", ["a\0b", 1, None, ["a"], {"a": "b"}])
def test_arguments_that_no_program_can_get_are_refused(config: Path, word: object) -> None:
    assert refusal(config, request("run-command", "/bin/echo", word)) == "the arguments are not a list of texts"
    for argv in ("/bin/echo", None, {"/bin/echo": 1}):
        assert "not a list" in refusal(config, request("run-command") | {"argv": argv})


@pytest.mark.parametrize("kind", ["handler", "", None, "shell"])
def test_a_script_runs_as_a_command_of_a_document_only(config: Path, handlers: Path, kind: Any) -> None:
    assert "runs only what a document can ask for" in refusal(
        config, request("fix", f"{handlers}/fix.sh", ME.pw_name, kind=kind)
    )


def test_a_user_that_root_does_not_list_is_refused(handlers: Path) -> None:
    config = written(handlers, users="kiosk")
    asked = request("run-command", "/bin/echo")
    assert refusal(config, asked) == f"{config} does not list {ME.pw_name!r} in handlers.run_as_users"


def test_a_unit_whose_user_is_another_is_refused(handlers: Path) -> None:
    config = written(handlers, users="nobody")
    assert refusal(config, request("run-command", "/bin/echo"), "as-nobody") == (
        "the user of this unit is not 'nobody'; correct User= in iot-job-as-nobody@.service"
    )


def test_a_user_that_there_is_not_is_refused(handlers: Path) -> None:
    config = written(handlers, users="no-such")
    assert refusal(config, request("run-command", "/bin/echo"), "as-no-such").startswith("there is no user 'no-such'; ")


def test_a_handler_with_a_profile_of_its_own_is_refused(config: Path, handlers: Path) -> None:
    said = refusal(config, request("kept", f"{handlers}/kept", ME.pw_name))
    assert said == f'{config} says profile = "packages" in [handler.kept], so that is where it runs'


def test_a_handler_that_is_not_enabled_or_not_in_a_unit_is_refused(handlers: Path) -> None:
    asked = request("fix", f"{handlers}/fix.sh", ME.pw_name)
    for changes in ({"enabled": '"run-command"'}, {"launcher": "plain"}):
        assert "does not enable handler 'fix' in a unit of its own" in refusal(written(handlers, **changes), asked)


def test_files_of_the_user_itself_are_not_believed(
    config: Path, handlers: Path, monkeypatch: pytest.MonkeyPatch, as_nobody: object
) -> None:
    script = request("fix", f"{handlers}/fix.sh", ME.pw_name)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)  # as in a unit of that user
    monkeypatch.setattr(privileged, "OWNERS", frozenset({0}))
    assert approved(script, AS_ME, config)
    os.chown(handlers / "fix.sh", 65534, 65534)
    assert refusal(config, script).startswith(f"handler fix is unavailable: {handlers}/fix.sh belongs to user id 65534")
    tool = handlers.parent / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    os.chown(tool, 65534, 65534)
    config.write_text(config.read_text().replace('"/bin/echo"', f'"{tool}"'))
    assert f"{tool} belongs to user id 65534" in refusal(config, request("run-command", str(tool)))
    os.chown(config, 65534, 65534)
    assert refusal(config, script).startswith(f"the configuration is not believed: {config} belongs to")
