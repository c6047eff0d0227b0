"""The files for systemd, checked by systemd's own tools. No booted system is needed."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "iot-jobs-agent.service"
WORST_EXPOSURE = 1.2


def run(*argv: str | Path) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as shipped, but for the program, which is not installed here."""
    path = tmp_path / UNIT.name
    text, count = re.subn(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)
    return path


def exposure(unit: Path) -> float:
    report = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert overall, report
    return float(overall[1])


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    assert run("systemd-analyze", "verify", unit) == ""


def test_systemd_would_complain_about_a_wrong_key(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nColour=blue"))
    assert "Colour" in run("systemd-analyze", "verify", unit)


def test_the_exposure_is_within_its_limit(unit: Path) -> None:
    assert exposure(unit) <= WORST_EXPOSURE


def test_the_exposure_notices_one_line_less(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes\n", "").replace("CapabilityBoundingSet=\n", ""))
    assert exposure(unit) > WORST_EXPOSURE


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("KillMode", "process", "stop and restart leave handlers alone"),
        ("OOMPolicy", "continue", "one handler out of memory does not stop the rest"),
        ("Restart", "always", "neither a crash nor a stray SIGTERM is the end"),
        ("OOMScoreAdjust", "-600", "handlers are killed before the agent"),
        ("RestartPreventExitStatus", "78", "a wrong configuration is"),
        ("StartLimitIntervalSec", "0", "it never gives up"),
        ("Type", "notify", "READY=1 says when it is up"),
        ("StateDirectoryMode", "0700", "the journal is private"),
        ("ProcSubset", "all", "the boot id stays visible"),
        ("PrivateUsers", "no", "environments of handlers that ran on stay readable"),
    ],
)
def test_what_reliability_depends_on_is_set(key: str, value: str, why: str) -> None:
    assert settings()[key] == [value], why


def test_no_stop_command_and_no_reload_can_reach_a_handler() -> None:
    assert not {"ExecStop", "ExecStopPost", "ExecReload", "RuntimeDirectory"} & settings().keys()


def test_the_watchdog_is_on() -> None:
    assert settings()["WatchdogSec"] == ["60s"]


def test_every_setting_has_its_reason_above() -> None:
    above = ""
    for line in UNIT.read_text().splitlines():
        key, equals, _ = line.partition("=")
        if equals and not line.startswith("#"):
            assert above.startswith(("#", f"{key}=")), line
        above = line


def test_the_credentials_are_the_ones_that_the_example_names() -> None:
    example = (SYSTEMD.parent / "config.example.toml").read_text()
    names = [value.partition(":")[0] for value in settings()["LoadCredential"]]
    assert len(names) == 3
    for name in names:
        assert f'"${{CREDENTIALS_DIRECTORY}}/{name}"' in example


def scratch_root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    run("systemd-sysusers", f"--root={root}", SYSTEMD / "iot-jobs-agent.sysusers.conf")
    return root


def test_sysusers_makes_a_user_without_a_shell(tmp_path: Path) -> None:
    passwd = (scratch_root(tmp_path) / "etc" / "passwd").read_text()
    assert re.search(
        r"^iot-jobs-agent:x:\d+:\d+:AWS IoT Jobs agent:/var/lib/iot-jobs-agent:\S+/nologin$", passwd, re.MULTILINE
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make root's directories")
def test_tmpfiles_makes_the_directories_and_closes_the_credentials(tmp_path: Path) -> None:
    root = scratch_root(tmp_path)
    tmpfiles = ("systemd-tmpfiles", "--create", f"--root={root}", SYSTEMD / "iot-jobs-agent.tmpfiles.conf")
    run(*tmpfiles)
    etc = root / "etc" / "iot-jobs-agent"
    shutil.copy(UNIT, etc / "credentials" / "private.key")
    (etc / "config.toml").touch()
    run(*tmpfiles)
    modes = {path.relative_to(etc): stat.S_IMODE(path.stat().st_mode) for path in [etc, *etc.rglob("*")]}
    assert modes == {
        Path(): 0o755,
        Path("handlers"): 0o755,
        Path("credentials"): 0o700,
        Path("credentials/private.key"): 0o600,
        Path("config.toml"): 0o640,
    }


def test_the_installation_guide_names_files_that_exist_and_a_policy_that_parses() -> None:
    guide = (SYSTEMD.parent / "docs" / "install.md").read_text()
    for name in {*re.findall(r" (systemd/iot[a-z.-]+)", guide), *re.findall(r"config\.[a-z.]+\.toml", guide)}:
        assert (SYSTEMD.parent / name).is_file(), name
    blocks = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 1
    actions = [statement["Action"] for statement in json.loads(blocks[0])["Statement"]]
    assert actions == [
        "iot:Connect",
        "iot:Subscribe",
        "iot:Receive",
        "iot:Publish",
        "iotjobsdata:GetPendingJobExecutions",
    ]
    assert "iot-jobs-agent check" in guide
