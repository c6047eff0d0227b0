"""Steps that run as a user of the device: as whom, what they reach, and that nobody else comes to that."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from installed import FILES, Device
from machine import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs

HANDLERS = "/etc/iot-jobs-agent/handlers"
CONFIG_FILE = "/etc/iot-jobs-agent/config.toml"
TEMPLATES = "/etc/systemd/system"
PACKAGES = "/usr/local/lib/iot-jobs-agent"
CONFIG = """
[handlers]
enabled = ["run-command", "who", "waits", "greet", "kept"]
directories = ["/etc/iot-jobs-agent/handlers"]
launcher = "units"
run_as_users = ["kiosk", "door_1", "no-such"]
[handler.run-command]
programs = ["/usr/bin/id"]
[handler.kept]
profile = "isolated"
"""
# Says who it is; then each line is something that it could, but should not.
WHO = f"""#!/bin/sh
echo "$(id -un) $(id -Gn) $1 $2 $HOME $USER"
echo made > $HOME/made
try() {{ "$@" 2> /dev/null && echo "could: $*"; }}
try ls /home/other
try ls /root/.profile
try ls /var/lib/iot-jobs-agent
try ls /etc/iot-jobs-agent/credentials
try ls /run/iot-jobs/sockets
try ls /run/dbus
try touch /srv/x
try touch /var/tmp/x
try touch {HANDLERS}/x
try cat /proc/$PPID/environ
try kill -0 1
ls /home
"""
WAITS = f"""#!/bin/sh
echo "$JOB_DIR" > $HOME/up.new && mv $HOME/up.new $HOME/up
read -r word < {FILES}/gate
echo "$word"
"""
GREET = """import os, pathlib
from pydantic import BaseModel
from iot_jobs_agent.handler import Handler, Job, Outcome
class Params(BaseModel): pass
def run(params: Params, job: Job) -> Outcome:
    (pathlib.Path.home() / "greeting").write_text("hi")
    return Outcome.succeeded(uid=str(os.getuid()), home=os.environ["HOME"])
HANDLER = Handler(name="greet", params=Params, run=run)
"""
# What somebody who has taken over the agent could do: ask a user's unit for a program of theirs.
FORGES = """
import json, os, socket, sys
sys.path.insert(0, "/usr/lib/iot-jobs-agent/lib/python3/site-packages")
from iot_jobs_agent.shim import bus
instance, asked = "f" * 24, json.loads(sys.argv[1])
path = "/run/iot-jobs/sockets/" + instance
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.settimeout(30)
listener.bind(path); os.chmod(path, 0o666); listener.listen()
bus.start_unit(f"iot-job-as-kiosk@{instance}.service")
entry, _ = listener.accept()
spec = {"env": {}, "quota_mb": 1, "quota_every_s": 5, "home": "/root", **asked}
fds = {"spec": os.memfd_create("spec"), "job": os.memfd_create("job"), "1": 1, "2": 2}
os.write(fds["spec"], json.dumps(spec).encode())
socket.send_fds(entry, [json.dumps({"names": list(fds)}).encode()], list(fds.values()))
while True:
    said = json.loads(entry.recv(1 << 18))
    if {"status", "cannot_start"} & said.keys():
        break
print(said.get("cannot_start", said.get("status")), flush=True)
os.unlink(path)
"""
# Connects in place of the first process, with all that another program of the user can know.
TAKES_THE_PLACE = """
import json, socket, subprocess, sys
unit = sys.argv[1]
shown = ["systemctl", "show", "--value", "--property=InvocationID", unit]
invocation = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.settimeout(30)
peer.connect("/run/iot-jobs/sockets/" + unit.partition("@")[2].removesuffix(".service"))
peer.send(json.dumps({"invocation": invocation}).encode())
print(len(invocation), peer.recv(4096))
"""


def made_with(user: str) -> str:
    """Return the command with which the page says to make the unit of a user."""
    page = (ROOT / "docs/security.md").read_text()
    (command,) = re.findall(r"^sed s/USER/kiosk/g .*?daemon-reload$", page, re.MULTILINE | re.DOTALL)
    return command.replace("kiosk", user)


def as_kiosk(*actions: dict[str, object]) -> dict[str, object]:
    return {"version": "1.0", "steps": [{"action": {"runAsUser": "kiosk", **action}} for action in actions]}


def handler(name: str, *args: str) -> dict[str, object]:
    return {"name": name, "type": "runHandler", "input": {"handler": name, "args": list(args)}}


COMMAND: dict[str, object] = {"name": "id", "type": "runCommand", "input": {"command": "id,-un"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def units(device: Device) -> AsyncIterator[Device]:
    """The device with a kiosk, and the unit for it; afterwards it is as it was."""
    machine = device.machine
    config = machine.path(CONFIG_FILE)
    before = config.read_text()
    for name, text in {"who": WHO, "waits": WAITS, "kept": WHO}.items():
        machine.write(f"{HANDLERS}/{name}", text, 0o755)
    machine.write(f"{PACKAGES}/greeting.py", GREET)
    machine.write(f"{PACKAGES}/greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    points = "[iot_jobs_agent.handlers]\ngreet = greeting:HANDLER\n"
    machine.write(f"{PACKAGES}/greeting-1.dist-info/entry_points.txt", points)
    config.write_text(before.partition("[handlers]")[0] + CONFIG)
    await machine.run(f"""
        useradd --create-home --groups audio kiosk; useradd --create-home other; useradd --create-home door_1
        {made_with("kiosk")}
        systemctl restart iot-jobs-agent""")
    yield device
    device.close_gates()
    config.write_text(before)
    await machine.run(f"""
        rm -rf {TEMPLATES}/iot-job-as-* {PACKAGES}
        systemctl daemon-reload; systemctl restart iot-jobs-agent
        userdel --remove kiosk; userdel --remove other; userdel --remove door_1""")


async def test_a_script_a_command_and_a_python_handler_run_as_the_user_that_the_document_names(units: Device) -> None:
    units.create("script", as_kiosk(handler("who", "x")))
    await units.ends("script", "SUCCEEDED")
    assert (
        units.details("script")["stdout"] == "kiosk kiosk nogroup kiosk x /home/kiosk kiosk kiosk"
    )  # a user namespace knows no "audio"
    assert await units.machine.run("stat -c '%U %G %a' /home/kiosk/made") == "kiosk kiosk 644\n"
    units.create("command", as_kiosk(COMMAND))
    await units.ends("command", "SUCCEEDED")
    assert units.details("command")["stdout"] == "kiosk"
    units.create("python", as_kiosk(handler("greet")))
    await units.ends("python", "SUCCEEDED")
    uid = (await units.machine.run("id -u kiosk")).strip()
    assert json.loads(units.details("python")["details"]) == {"uid": uid, "home": "/home/kiosk"}
    assert await units.machine.run("stat -c %U /home/kiosk/greeting") == "kiosk\n"


async def test_steps_of_one_job_run_each_as_its_own_user_and_leave_nothing(units: Device) -> None:
    usual = {"action": COMMAND}
    units.create("both", {"version": "1.0", "steps": [*as_kiosk(handler("who"), COMMAND)["steps"], usual]})
    await units.ends("both", "SUCCEEDED")
    assert re.fullmatch(r"j-[0-9a-f]{24}", units.details("both")["stdout"])
    await units.known()
    await units.machine.run("systemctl stop 'iot-job-forget@*'")
    left = "/var/lib/iot-jobs-users"
    assert await units.machine.run(f"ls {left}; stat -c '%U %a' {left}") == "root 700\n"


async def test_a_user_that_is_not_listed_and_a_handler_with_a_profile_are_rejected(units: Device) -> None:
    units.create("not-in-run-as-users", as_kiosk(COMMAND | {"runAsUser": "other"}))
    await units.ends("not-in-run-as-users", "REJECTED")
    assert "runAsUser: is not allowed on this device" in units.details("not-in-run-as-users")["reason"]
    units.create("kept", as_kiosk(handler("kept")))
    await units.ends("kept", "REJECTED")
    assert 'handler "kept" has a profile of its own' in units.details("kept")["reason"]


async def test_without_its_unit_a_users_job_fails_and_check_has_the_command_that_makes_it(units: Device) -> None:
    units.create("no-unit", as_kiosk(COMMAND | {"runAsUser": "door_1"}))
    await units.ends("no-unit", "FAILED")
    assert "iot-job-as-door_1@" in units.details("no-unit")["reason"]
    assert "there is no such profile: `iot-jobs-agent check` says what to do" in units.details("no-unit")["reason"]
    said = await units.machine.run("iot-jobs-agent check --offline || true")
    assert "ok     profile as-kiosk" in said, said
    assert "handlers.run_as_users: user no-such does not exist on this device; create it, or remove it" in said
    (command,) = re.findall(r"handlers.run_as_users: iot-job-as-door_1@.service does not exist; run `(.*?)`", said)
    assert command == made_with("door_1").replace("\\\n", "").replace("    ", "")
    said = await units.machine.run(f"{command}; iot-jobs-agent check --offline || true")
    assert "ok     profile as-door_1" in said, said
    units.create("a-unit", as_kiosk(COMMAND | {"runAsUser": "door_1"}))
    await units.ends("a-unit", "SUCCEEDED")
    assert units.details("a-unit")["stdout"] == "door_1"


async def test_check_names_what_is_wrong_with_a_users_unit(units: Device) -> None:
    file = f"{TEMPLATES}/iot-job-as-kiosk@.service"
    said = await units.machine.run(f"""
        cp {file} /root/kept; sed -i s/^User=kiosk/User=other/ {file}; chmod 666 {file}; systemctl daemon-reload
        iot-jobs-agent check --offline || true""")
    assert f"{file} is writable by others (mode 0666); run `chmod go-w {file}`" in said, said
    assert f"{file}: User= is other; write User=kiosk" in said, said
    units.create("other-user", as_kiosk(COMMAND))
    await units.ends("other-user", "FAILED")
    assert "its unit ended as exit-code" in units.details("other-user")["reason"]
    await units.machine.run(f"cp /root/kept {file}; chmod 644 {file}; systemctl daemon-reload")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"handler": "run-command", "kind": "command", "argv": ["/usr/bin/id", "-un"]}, "kiosk\n0"),
        ({"handler": "run-command", "kind": "command", "argv": ["/bin/sh", "-c", "id"]}, "runs only what a document"),
        ({"handler": "who", "kind": "command", "argv": ["/bin/sh", "-c", "id"]}, "runs only what a document"),
        ({"handler": "who", "kind": "command", "argv": [f"{HANDLERS}/who", "root"]}, "runs only what a document"),
        ({"handler": "kept", "kind": "command", "argv": [f"{HANDLERS}/kept", "kiosk"]}, 'says profile = "isolated"'),
        ({"handler": "other", "kind": "handler", "argv": ["/bin/sh"]}, "does not enable handler 'other'"),
    ],
)
async def test_a_forged_request_is_refused(units: Device, asked: dict[str, object], words: str) -> None:
    units.machine.write(f"{FILES}/forges.py", FORGES)
    agent = "setpriv --reuid=iot-jobs-agent --regid=iot-jobs-agent --clear-groups"
    said = await units.machine.run(f"{agent} python3 -I {FILES}/forges.py '{json.dumps(asked)}'")
    assert words in said, said
    await units.has_no_unit("as-kiosk")


async def test_another_program_of_the_user_does_not_get_in_its_place(units: Device) -> None:
    drop_in = f"{TEMPLATES}/iot-job-as-kiosk@.service.d/slow.conf"
    units.machine.write(drop_in, f"[Service]\nExecStartPre=/bin/sh -c 'read -r word < {FILES}/gate'\n")
    units.machine.write(f"{FILES}/takes.py", TAKES_THE_PLACE)
    await units.machine.run("systemctl daemon-reload")
    units.create("place", as_kiosk(COMMAND))
    listed = "systemctl list-units --plain --no-legend --state=activating 'iot-job-as-kiosk@*'"
    unit = await units.machine.run(f"until {listed} | grep -q .; do sleep 0.1; done; {listed}")
    said = await units.machine.run(f"runuser -u kiosk -- python3 -I {FILES}/takes.py {unit.split()[0]}")
    assert said == "32 b''\n"
    units.open_gate()
    await units.ends("place", "SUCCEEDED")
    assert units.details("place")["stdout"] == "kiosk"
    await units.machine.run(f"rm -r {TEMPLATES}/iot-job-as-kiosk@.service.d; systemctl daemon-reload")


async def test_another_program_of_the_user_sees_nothing_of_a_step_but_can_end_it(units: Device) -> None:
    units.create("seen", as_kiosk(handler("waits")))
    directory = await units.machine.run("until [ -e /home/kiosk/up ]; do sleep 0.1; done; cat /home/kiosk/up")
    said = await units.machine.run(f"""
        rm /home/kiosk/up
        for pid in $(grep -l iot-job-as-kiosk@ /proc/[0-9]*/cgroup | cut -d / -f 3); do
            for each in environ maps fd/0 root cwd; do
                runuser -u kiosk -- sh -c "ls /proc/$pid/$each/ || cat /proc/$pid/$each" > /dev/null 2>&1 && echo $each
            done
            cat /proc/$pid/comm
            [ "$(cat /proc/$pid/comm)" != waits ] || runuser -u kiosk -- sh -c "kill $pid"
        done
        runuser -u kiosk -- ls {directory.strip()} > /dev/null 2>&1 && echo directory || echo looked""")
    assert sorted(said.split()) == ["looked", "python3", "waits"], said
    await units.ends("seen", "FAILED")


async def test_the_exposure_of_a_users_unit_is_as_small_as_is_said(units: Device) -> None:
    unit = f"iot-job-as-kiosk@{'a' * 24}.service"
    said = await units.machine.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    assert float(re.search(r": ([0-9.]+) ", said)[1]) <= 1.2, said
