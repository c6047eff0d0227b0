"""The polkit rule, asked of a real polkitd on a bus of its own: no booted system is needed, but root is.

polkitd reads rules only from its fixed directories: it runs in a mount namespace in which ours lies there.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.buses import CONFIG

ROOT = Path(__file__).parents[2]
RULES = ROOT / "systemd" / "iot-jobs-agent.rules"
POLKITD = Path("/usr/lib/polkit-1/polkitd")
UNITS = "org.freedesktop.systemd1.manage-units"
REBOOT = "org.freedesktop.login1.reboot"
LINGER = "org.freedesktop.login1.set-self-linger"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
    pytest.mark.skipif(
        not POLKITD.exists() or not all(map(shutil.which, ("dbus-daemon", "gdbus", "unshare", "setpriv"))),
        reason="polkitd or D-Bus is not here",
    ),
]
OBJECT = "/org/freedesktop/PolicyKit1/Authority"
METHOD = "org.freedesktop.PolicyKit1.Authority.CheckAuthorization"


def rules() -> dict[str, str]:
    """Give the rule as shipped, and the one that the installation page shows, for a user that exists here."""
    page = (ROOT / "docs/install.md").read_text()
    shown = re.search(r"rules\.d/(40-\S+) <<'END'\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)
    assert shown
    texts = {"50-iot-jobs-agent.rules": RULES.read_text(), shown[1]: shown[2]}
    return {name: text.replace('"iot-jobs-agent"', '"daemon"') for name, text in texts.items()}


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run a bus and a polkitd with the rule; the environment that leads to them."""
    etc = tmp_path / "polkit"
    (etc / "rules.d").mkdir(parents=True)
    for name, text in rules().items():
        (etc / "rules.d" / name).write_text(text)
    for path in (etc, etc / "rules.d"):
        path.chmod(0o755)
    (tmp_path / "bus.conf").write_text(CONFIG.format(address=f"unix:abstract={tmp_path}"))
    address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:abstract={tmp_path}", "PATH": os.environ["PATH"]}
    mounted = f"mount --bind {etc} /etc/polkit-1 && exec {POLKITD} --no-debug"
    with contextlib.ExitStack() as stack:
        daemon = ["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--print-address"]
        said = started(stack, daemon).stdout
        assert said
        said.readline()
        started(stack, ["unshare", "--mount", "sh", "-c", mounted], address)
        waiting = ["gdbus", "wait", "--system", "--timeout=10", "org.freedesktop.PolicyKit1"]
        subprocess.run(waiting, env=address, check=True)
        yield address


def started(
    stack: contextlib.ExitStack, argv: list[str], environment: dict[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process that ends with the stack."""
    process = stack.enter_context(
        subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    stack.callback(process.terminate)
    return process


def may(bus: dict[str, str], user: str, action: str, **details: str) -> bool:
    """Ask whether a process of that user may; the answer of polkit without asking anybody for a password."""
    with contextlib.ExitStack() as stack:
        asking = started(stack, ["setpriv", f"--reuid={user}", "--clear-groups", "cat"])
        assert asking.stdin
        assert asking.stdout
        asking.stdin.write(b"up\n")
        asking.stdin.flush()
        asking.stdout.readline()
        given = ", ".join(f"'{key}': '{value}'" for key, value in details.items())
        subject = f"('unix-process', {{'pid': <uint32 {asking.pid}>, 'start-time': <uint64 0>}})"
        call = ["gdbus", "call", "--system", "--dest=org.freedesktop.PolicyKit1", f"--object-path={OBJECT}"]
        call += [f"--method={METHOD}", subject, action, f"@a{{ss}} {{{given}}}", "uint32 0", "''"]
        done = subprocess.run(call, env=bus, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.startswith("((true,")


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_listed_units_may_be_started_stopped_and_restarted(bus: dict[str, str], verb: str) -> None:
    assert may(bus, "daemon", UNITS, unit="oven.service", verb=verb)


HASH = "0123456789abcdef01234567"


@pytest.mark.parametrize("verb", ["start", "stop", "kill"])
def test_units_of_handlers_may_be_started_stopped_and_signalled(bus: dict[str, str], verb: str) -> None:
    assert may(bus, "daemon", UNITS, unit=f"iot-job-network@{HASH}.service", verb=verb)
    assert not may(bus, "nobody", UNITS, unit=f"iot-job-network@{HASH}.service", verb=verb)


@pytest.mark.parametrize("user", ["kiosk", "www-data", "a_b", "_apt"])
def test_units_of_users_are_units_of_handlers(bus: dict[str, str], user: str) -> None:
    assert may(bus, "daemon", UNITS, unit=f"iot-job-as-{user}@{HASH}.service", verb="start")
    assert not may(bus, "daemon", UNITS, unit=f"iot-job-as-{user}@.service", verb="start")


@pytest.mark.parametrize(
    ("unit", "verb"),
    [
        *((f"iot-job-network@{HASH}.service", verb) for verb in ("restart", "reload", "reset-failed", "set-property")),
        *((f"iot-job-network@{name}.service", "start") for name in (HASH[1:], HASH.upper(), f"{HASH}0", "%i", "")),
        *((f"{name}@{HASH}.service", "start") for name in ("iot-job-", "iot-job-Network", "my-iot-job-network", "ssh")),
        (f"iot-job-network@{HASH}.slice", "start"),
        (f"iot-job-network@{HASH}.service.socket", "start"),
        ("iot-jobs-agent.service", "stop"),
    ],
)
def test_no_other_unit_or_verb_is_taken_for_a_handlers(bus: dict[str, str], unit: str, verb: str) -> None:
    assert not may(bus, "daemon", UNITS, unit=unit, verb=verb)


def test_nothing_else_is_allowed(bus: dict[str, str]) -> None:
    assert may(bus, "daemon", REBOOT)
    assert not may(bus, "daemon", UNITS, unit="ssh.service", verb="stop")
    assert not may(bus, "daemon", UNITS, unit="oven.service", verb="kill")
    assert not may(bus, "daemon", UNITS)
    assert not may(bus, "daemon", "org.freedesktop.systemd1.manage-unit-files")
    assert not may(bus, "daemon", "org.freedesktop.login1.power-off")
    assert not may(bus, "daemon", "org.freedesktop.login1.reboot-multiple-sessions")


def test_the_agents_user_may_not_have_a_user_manager_as_others_may(bus: dict[str, str]) -> None:
    assert may(bus, "nobody", LINGER)
    assert not may(bus, "daemon", LINGER)


def test_no_other_user_is_allowed_anything(bus: dict[str, str]) -> None:
    assert not may(bus, "nobody", UNITS, unit="oven.service", verb="start")
    assert not may(bus, "nobody", REBOOT)
