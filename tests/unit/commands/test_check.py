"""What `check` says about this device, beside what the network says."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.support.configs import config_of

from iot_jobs_agent.commands.check import _programs, _reboot, _roots
from iot_jobs_agent.state.owner import acting_as_owner
from iot_jobs_agent.unit import unit_of

AsNobody = Callable[[], AbstractContextManager[None]]


def test_field_f3_roots_are_judged_as_the_agents_user_sees_them(tmp_path: Path, as_nobody: AsNobody) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    tmp_path.chmod(0o700)
    tables = {"handlers": {"enabled": ["write-file"]}, "handler": {"write-file": {"roots": ["/etc", str(hidden)]}}}
    settings = config_of(tmp_path, **tables)
    assert _roots(settings, {}) == []
    with as_nobody():
        (_, closed), (_, not_seen) = _roots(settings, {})
    assert closed.startswith("handler.write-file.roots: /etc cannot be written by user nobody; ")
    assert not_seen.startswith(f"handler.write-file.roots: {hidden} is not there, or hidden from user nobody; ")


def test_field_f9_a_program_that_is_not_there_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "echo").touch()
    programs = [str(tmp_path / name) for name in ("echo", "ecoh", "zzzzzz")] + ["/nowhere/at/all"]
    tables = {"handlers": {"enabled": ["run-command"]}, "handler": {"run-command": {"programs": programs}}}
    lines = [line for _, line in _programs(config_of(tmp_path, **tables))]
    assert lines == [
        f"handler.run-command.programs: {tmp_path}/ecoh is not there. Did you mean echo?",
        f"handler.run-command.programs: {tmp_path}/zzzzzz is not there; install it, or correct the path.",
        "handler.run-command.programs: /nowhere/at/all is not there; correct the path.",
    ]


def test_field_f3_root_looks_into_another_users_state_directory_as_that_user(
    tmp_path: Path, as_nobody: AsNobody
) -> None:
    os.chown(tmp_path, 65534, 65534)
    with acting_as_owner(tmp_path):
        assert (os.geteuid(), os.getegid()) == (65534, 65534)
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.parametrize(("answer", "is_ok"), [("yes", True), ("challenge", False), ("no", False)])
def test_field_f3_whether_the_agents_user_may_reboot_is_asked_of_logind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, is_ok: bool
) -> None:
    busctl = tmp_path / "busctl"  # a stand-in with the answer that the real one gives on a booted device
    busctl.write_text(f"#!/bin/sh\necho 's \"{answer}\"'\n")
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tables = {"handlers": {"enabled": ["reboot"]}, "handler": {"reboot": {"may_reboot": True}}}
    [(found_ok, line)] = asyncio.run(_reboot(config_of(tmp_path, **tables)))
    assert found_ok is is_ok
    assert is_ok or f"(logind says {answer}); install polkitd and the polkit rule" in line


def test_field_f3_nobody_asks_logind_if_no_handler_may_reboot(tmp_path: Path) -> None:
    assert asyncio.run(_reboot(config_of(tmp_path, handlers={"enabled": ["reboot"]}))) == []


SHOWN = """LoadState={state}
ExecStart={{ path=/opt/agent ; argv[]=/opt/agent run --config {config} ; ignore_errors=no ; pid=0 }}
ProtectSystem=strict
ReadWritePaths={writable}
"""


@pytest.mark.parametrize(
    ("state", "is_its_config", "writable", "is_said"),
    [
        ("loaded", True, "", True),
        ("loaded", True, "{root}", False),
        ("loaded", False, "", False),
        ("not-found", True, "", False),
    ],
)
def test_field_f3_what_the_unit_lets_handlers_write_is_asked_of_systemd(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    writable: str,
    *,
    is_its_config: bool,
    is_said: bool,
) -> None:
    root, config = tmp_path / "files", tmp_path / "config.toml"
    root.mkdir()
    text = SHOWN.format(state=state, config=config if is_its_config else "/other", writable=writable.format(root=root))
    (tmp_path / "shown").write_text(text)
    systemctl = tmp_path / "systemctl"  # a stand-in with the answer that the real one gives on a booted device
    systemctl.write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tables = {"handlers": {"enabled": ["write-file"]}, "handler": {"write-file": {"roots": [str(root)]}}}
    found = _roots(config_of(tmp_path, **tables), asyncio.run(unit_of(config)))
    said = (
        f"handler.write-file.roots: {root} is read-only for the unit iot-jobs-agent (ProtectSystem=strict); put "
        f"ReadWritePaths={root} below [Service] with `systemctl edit iot-jobs-agent`, then restart it."
    )
    assert found == [(False, said)] * is_said
