"""What `check` says about the profiles of users: what systemd answers is judged, each fault with its fix."""

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.configs import config_of
from tests.support.files import ROOT

from iot_jobs_agent import profiles
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.commands.check import _profiles
from iot_jobs_agent.profiles import user_problems

if TYPE_CHECKING:
    from collections.abc import Callable

USER = "nobody"
PATTERN = ROOT / "systemd" / "iot-job-as-USER@.service"
TEMPLATE = f"iot-job-as-{USER}@.service"
SHOWN = {
    "LoadState": "loaded",
    "DropInPaths": "",
    "RuntimeMaxUSec": "1w",
    "ExecStart": "{ path=/x ; argv[]=/x -c import sys; from iot_jobs_agent.privileged import main }",
    "ExecStopPost": "{ path=/usr/lib/iot-jobs-agent/handler-ended ; argv[]=x }",
    "KillMode": "control-group",
    "DynamicUser": "no",
    "User": USER,
    "StateDirectory": f"iot-jobs-users/{'0' * 24}/{USER}",
}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The unit of a user, made from the pattern as the page says."""
    path = tmp_path / TEMPLATE
    path.write_text(PATTERN.read_text().replace("USER", USER))
    path.chmod(0o644)
    return path


@pytest.fixture
def systemctl(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> "Callable[..., None]":
    """A stand-in with the answer that the real one gives on a booted device, but for what is changed."""

    def answer(**changes: str) -> None:
        lines = (SHOWN | {"FragmentPath": str(template)} | changes).items()
        (tmp_path / "shown").write_text("".join(f"{key}={value}\n" for key, value in lines))

    only_users = f"case $2 in iot-job-as-*) cat {tmp_path}/shown ;; *) echo LoadState=masked ;; esac"
    for name, text in (("systemctl", only_users), ("systemd-analyze", "true")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(profiles, "_ROOT", frozenset({0, os.getuid()}))
    answer()
    return answer


async def test_a_unit_that_was_made_from_the_pattern_is_all_right(systemctl: object) -> None:
    assert await user_problems(USER, {"deploy": 600.0}, {}) == []


async def test_a_user_that_does_not_exist_is_named(systemctl: object) -> None:
    assert await user_problems("no-such", {}, {}) == [
        "handlers.run_as_users: user no-such does not exist on this device; create it, or remove it from the list"
    ]


async def test_a_unit_that_is_missing_is_named_with_the_command_that_makes_it(
    systemctl: "Callable[..., None]", tmp_path: Path
) -> None:
    systemctl(LoadState="not-found", FragmentPath="")
    made = f"/etc/systemd/system/{TEMPLATE}"
    [said] = await user_problems(USER, {}, {})
    command = f"sed s/USER/{USER}/g {profiles.PATTERN} > {made} && systemctl daemon-reload"
    assert said == f"handlers.run_as_users: {TEMPLATE} does not exist; run `{command}`"
    systemctl(LoadState="masked")
    masked = f"handlers.run_as_users: {TEMPLATE} is masked; run `systemctl unmask {TEMPLATE}`"
    assert await user_problems(USER, {}, {}) == [masked]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"User": "kiosk"}, "User= is kiosk; write User=nobody"),
        ({"User": ""}, "User= is root; write User=nobody"),
        ({"DynamicUser": "yes"}, "DynamicUser= is yes, but nobody is a user of the device; remove it"),
        ({"StateDirectory": f"iot-jobs/{'0' * 24}"}, "StateDirectory= is not iot-jobs-users/%i/nobody, "),
        ({"ExecStart": "from iot_jobs_agent.shim.entry import main"}, "ExecStart= does not start the first process of"),
        ({"ExecStopPost": ""}, "ExecStopPost= does not note how the handler ended"),
        ({"KillMode": "process"}, "KillMode= is not control-group"),
    ],
)
async def test_a_setting_that_is_wrong_is_named_with_its_file(
    systemctl: "Callable[..., None]", template: Path, changes: dict[str, str], words: str
) -> None:
    systemctl(**changes)
    [said] = await user_problems(USER, {}, {})
    assert said.startswith(f"{template}: {words}")


async def test_a_file_that_others_may_write_is_named(systemctl: object, template: Path) -> None:
    template.chmod(0o666)
    assert await user_problems(USER, {}, {}) == [
        f"{template} is writable by others (mode 0666); run `chmod go-w {template}`"
    ]


async def test_each_user_of_the_list_is_judged_but_the_agents_own(
    systemctl: "Callable[..., None]", tmp_path: Path
) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    handlers = {"launcher": "units", "enabled": ["run-command", "write-file"], "run_as_users": [USER, "no-such", me]}
    tables = {"write-file": {"profile": "files", "timeout_s": 999999}, "run-command": {"timeout_s": 500}}
    settings = config_of(tmp_path, handlers=handlers, handler=tables)
    catalog = Catalog(settings)
    await catalog.refresh()
    systemctl(RuntimeMaxUSec="1min")
    found = [line.partition("; ")[0] for _, line in await _profiles(settings, catalog)]
    assert [line for line in found if "masked" not in line] == [
        f"handler run-command may run for 530 s, but RuntimeMaxSec= in {tmp_path}/{TEMPLATE} ends it after 60 s",
        "handlers.run_as_users: user no-such does not exist on this device",
    ]


async def test_a_handler_whose_profile_would_cut_it_off_is_refused_at_load(tmp_path: Path, systemctl: object) -> None:
    """And heard again once the limit is raised, without a restart; what systemd does not know has no limit."""
    shown = tmp_path / "limits"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat {shown}\n")

    def limit(span: str) -> None:
        known = f"Id=iot-job-files@{'0' * 24}.service\nFragmentPath=/etc/files\nRuntimeMaxUSec={span}\n"
        unknown = f"Id=iot-job-network@{'0' * 24}.service\nFragmentPath=\nRuntimeMaxUSec=1s\n"
        shown.write_text(f"{known}\n{unknown}")

    for name in ("brief", "long"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    handlers = {"launcher": "units", "enabled": ["brief", "long"], "directories": [str(tmp_path)]}
    settings = config_of(tmp_path, handlers=handlers, handler={"long": {"profile": "files", "timeout_s": 570}})
    catalog = Catalog(settings)
    limit("9min 59s")
    await catalog.refresh()
    unavailable = {name: handler.unavailable for name, handler in catalog.enabled().items()}
    assert unavailable == {
        "brief": "",
        "long": (
            "handler long may run for 600 s, but RuntimeMaxSec= in /etc/files ends it after 599 s; "
            "set max_timeout_s in [handler.long], or raise the limit with `systemctl edit`"
        ),
    }
    for longer in ("10min", "infinity"):
        limit("9min 59s")
        await catalog.refresh(again=True)
        assert catalog.enabled()["long"].unavailable
        limit(longer)
        await catalog.refresh(again=True)
        assert not catalog.enabled()["long"].unavailable
