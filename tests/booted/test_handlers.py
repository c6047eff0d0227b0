"""Handlers in systemd units of their own: as whom they run, what they reach, how they end, what outlives what."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from installed import Device
from tests.support.on_record import FILES, HOME, aws_document, echo

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs

HANDLERS = f"{HOME}/handlers"
ETC = "/etc/systemd/system"
POLKIT = "/etc/polkit-1/rules.d/00-none.rules"
ENABLED = (
    *(
        "spy",
        "spy-light",
        "spy-isolated",
        "parks",
        "tries",
        "strays",
        "stubborn",
        "forger",
        "missing",
        "masked",
        "reader",
    ),
    *("plants", "hides", "describes", "hurried"),
)
TABLES = """
[handler.tries]
retry_delay_s = 0.1
[handler.missing]
profile = "nowhere"
[handler.masked]
profile = "masked"
[handler.reader]
profile = "logs"
[handler.hurried]
profile = "hurried"
[handler.spy-light]
profile = "light"
[handler.spy-isolated]
profile = "isolated"
"""
# Tries what a handler must not be able to do; each line that it prints is something that it could.
SPY = f"""#!/bin/sh
try() {{ "$@" 2> /dev/null && echo "could: $*"; }}
try ls /var/lib/iot-jobs-agent
try ls /etc/iot-jobs-agent/credentials
try cat /etc/iot-jobs-agent/config.toml
try cat /run/credentials/*/*
try ls /run/iot-jobs/sockets
try ls /run/iot-jobs/ended
try touch /run/iot-jobs/sockets/x
try touch /run/iot-jobs/ended/x
try touch /var/lib/x
try touch /var/tmp/x
try touch /run/lock/x
try ls /run/dbus
try ls /run/systemd/journal
try touch {HANDLERS}/x
try cat /proc/$PPID/environ
try ls /proc/$PPID/fd
try ls /dev/shm/left
try systemctl start iot-job-network@aaaaaaaaaaaaaaaaaaaaaaaa.service
for each in /proc/[0-9]*; do
    user=$(stat -c %U $each 2> /dev/null) || continue
    [ "$user" = "$(id -un)" ] || [ $each = /proc/$PPID ] || echo "sees: $each of $user"
done
for each in /var/lib/iot-jobs/*; do [ $each = $JOB_DIR ] || try ls $each/; done
touch /dev/shm/left
id -un
"""
PARKS = f"""#!/bin/sh
echo '{{"progress": 1, "message": "up"}}' >&3
id -un >> $JOB_DIR/users
read -r word < {FILES}/gate
echo "$word"
"""
TRIES = """#!/bin/sh
echo "$JOB_ATTEMPT $(id -u)" >> $JOB_DIR/tries
[ "$JOB_ATTEMPT" = 3 ] || exec echo '{"outcome": "retry"}' > $JOB_RESULT_FILE
cat $JOB_DIR/tries
"""
STRAYS = """#!/bin/sh
setsid sleep 4000 & env -i setsid sleep 4000 &
sleep 0.1
"""
STUBBORN = """#!/bin/sh
trap '' TERM
echo '{"progress": 1, "message": "up"}' >&3
setsid sh -c 'trap "" TERM; sleep 4000' & sleep 4000
"""
FORGER = """#!/bin/sh
(setsid sleep 4000 &)
echo '{"outcome": "succeeded"}' > $JOB_RESULT_FILE
kill -KILL $PPID
sleep 4000
"""
# Leaves what dpkg reads in the home directory of whoever runs it.
PLANTS = """#!/bin/sh
echo "post-invoke=touch /srv/owned" > $HOME/.dpkg.cfg
"""
HIDES = """#!/bin/sh
mkdir hidden && chmod 300 hidden && sleep 4000
"""
# Says as whom it is asked what it declares, and what it sees then.
DESCRIBES = """#!/bin/sh
# iot-jobs-agent: describe
if [ "$1" = describe ]; then
    cd /etc/iot-jobs-agent
    seen=$(cat /var/lib/iot-jobs-agent/* credentials/* config.toml 2> /dev/null | wc -c)
    echo "{\\"summary\\": \\"as $(id -un), saw $seen bytes\\"}"
fi
"""
READER = """#!/bin/sh
id -un
journalctl --unit oven --output cat --no-pager | grep -x warm | tail -n 1
"""
FILES_OF = {
    "plants": PLANTS,
    "hides": HIDES,
    "reader": READER,
    "describes": DESCRIBES,
    **dict.fromkeys(("spy", "spy-light", "spy-isolated"), SPY),
    "parks": PARKS,
    "tries": TRIES,
    "strays": STRAYS,
    "stubborn": STUBBORN,
    "forger": FORGER,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def units(device: Device) -> AsyncIterator[Device]:
    """The device, with handlers in units of their own; afterwards it is as it was."""
    machine = device.machine
    for name, text in FILES_OF.items():
        machine.write(f"{HANDLERS}/{name}", text, 0o755)
    for name in ("missing", "masked", "hurried"):
        machine.write(f"{HANDLERS}/{name}", "#!/bin/sh\n", 0o755)
    shipped = machine.path("/usr/lib/systemd/system/iot-job-network@.service").read_text()
    machine.write(f"{ETC}/iot-job-hurried@.service", re.sub("RuntimeMaxSec=.*", "RuntimeMaxSec=1min", shipped))
    await machine.run("systemctl mask iot-job-masked@.service; systemctl daemon-reload")
    await device.configure(enabled=ENABLED, tables=TABLES)
    yield device
    device.close_gates()
    await machine.run(f"systemctl unmask iot-job-masked@.service; rm -r {ETC}/iot-job-hurried@.service*")
    await device.configure()


async def test_a_handler_is_a_user_of_its_own_and_leaves_nothing(units: Device) -> None:
    users = set()
    for job in ("who-1", "who-2"):
        units.create(job, {"operation": "run-command", "params": {"command": "/usr/bin/id -un"}})
        await units.ends(job, "SUCCEEDED")
        users.add(units.details(job)["stdout"])
    assert len(users) == 2
    assert all(re.fullmatch(r"j-[0-9a-f]{24}", user) for user in users)
    await units.known()
    assert await units.handlers() == []
    assert (await units.machine.run("ls /run/iot-jobs/sockets")).split() == []
    hashes = {user.removeprefix("j-") for user in users}
    await units.machine.run("systemctl stop 'iot-job-forget@*'")
    assert not hashes & set((await units.machine.run("ls /var/lib/iot-jobs /var/lib/private/iot-jobs")).split())


async def test_a_handler_reaches_nothing_of_the_agent_or_of_another(units: Device) -> None:
    units.create("parked", {"operation": "parks"})
    await units.is_up("parked")
    for number, name in enumerate(("spy", "spy", "spy-light", "spy-isolated")):
        units.create(job := f"{name}-{number}", {"operation": name})
        await units.ends(job, "SUCCEEDED")
        assert re.fullmatch(r"j-[0-9a-f]{24}", units.details(job)["stdout"]), units.details(job)
    units.open_gate()
    await units.ends("parked", "SUCCEEDED")


async def test_a_handler_that_is_asked_what_it_declares_is_a_user_of_its_own_too(units: Device) -> None:
    said = await units.machine.run("iot-jobs-agent handlers --json")
    (summary,) = [each["summary"] for each in json.loads(said) if each["name"] == "describes"]
    assert re.fullmatch(r"as j-[0-9a-f]{24}, saw 0 bytes", summary)
    assert await units.handlers() == []


async def test_another_try_finds_its_files_again(units: Device) -> None:
    units.create("tries", {"operation": "tries"})
    await units.ends("tries", "SUCCEEDED")
    tries = units.details("tries")["stdout"].split()
    assert tries[::2] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "what",
    [
        "systemctl restart iot-jobs-agent",
        "systemctl kill --kill-whom=main --signal=KILL iot-jobs-agent",
        "systemctl daemon-reload",
        "systemctl daemon-reexec",
    ],
)
async def test_a_running_handler_is_left_alone_and_found_again(units: Device, what: str) -> None:
    job = f"goes-on-{abs(hash(what)) % 10**6}"
    units.create(job, {"operation": "parks"})
    await units.is_up(job)
    await units.machine.run(what)
    units.open_gate()
    await units.ends(job, "SUCCEEDED")
    assert units.details(job)["stdout"] == "opened"


async def test_nothing_that_a_handler_starts_outlives_it(units: Device) -> None:
    units.create("strays", {"operation": "strays"})
    await units.ends("strays", "SUCCEEDED")
    assert "processes left behind and killed" in units.details("strays")["result"]
    assert await units.handlers() == []


async def test_field_d2_who_kills_the_first_process_has_not_succeeded(units: Device) -> None:
    units.create("forger", {"operation": "forger"})
    await units.ends("forger", "FAILED")
    assert "signal 9" in units.details("forger")["result"]
    assert await units.handlers() == []


async def test_a_handler_that_hides_files_from_its_quota_is_ended(units: Device) -> None:
    units.create("hides", {"operation": "hides"})
    await units.ends("hides", "FAILED")
    assert "the handler has made it unreadable" in units.details("hides")["reason"]


async def test_a_cancelled_handler_is_ended_with_all_its_processes(units: Device) -> None:
    units.create("stubborn", {"operation": "stubborn"})
    await units.is_up("stubborn")
    units.sim.operate("CancelJob", jobId="stubborn", force=True)
    units.create("next", echo("hi"))
    await units.ends("next", "SUCCEEDED")
    await units.has_no_unit("network")
    assert await units.handlers() == []


async def test_somebodys_stop_of_the_unit_is_an_interruption(units: Device) -> None:
    units.create("stopped", {"operation": "parks"})
    await units.is_up("stopped")
    await units.machine.run("systemctl stop 'iot-job-network@*.service'")
    await units.ends("stopped", "FAILED")
    assert "interrupted" in units.details("stopped")["reason"]


async def test_a_profile_that_is_not_there_or_masked_fails_its_own_jobs_only(units: Device) -> None:
    for job, words in (("missing", "there is no such profile"), ("masked", "it is masked")):
        units.create(job, {"operation": job})
        await units.ends(job, "FAILED")
        assert f"iot-job-{units.details(job)['reason'].split('iot-job-')[1].split('@')[0]}" in (
            "iot-job-nowhere",
            "iot-job-masked",
        )
        assert words in units.details(job)["reason"]


async def test_a_handler_whose_profile_would_cut_it_off_is_refused_until_the_limit_is_raised(units: Device) -> None:
    units.create("hurried", {"operation": "hurried"})
    await units.ends("hurried", "REJECTED")
    assert (
        f"handler hurried may run for 3630 s, but RuntimeMaxSec= in {ETC}/iot-job-hurried@.service ends it after 60 s; "
        "set max_timeout_s in [handler.hurried], or raise the limit with `systemctl edit`"
    ) in units.details("hurried")["reason"]
    units.machine.write(f"{ETC}/iot-job-hurried@.service.d/limit.conf", "[Service]\nRuntimeMaxSec=3630s\n")
    await units.machine.run("systemctl daemon-reload")
    units.create("has-time", {"operation": "hurried"})
    await units.ends("has-time", "SUCCEEDED")


async def test_explain_tells_the_profile_and_its_limits(units: Device) -> None:
    said = await units.machine.run("""echo '{"operation": "spy"}' | iot-jobs-agent explain -""")
    assert "in a unit of the profile network (iot-job-network@.service)" in said
    assert "MemoryMax=256M, MemorySwapMax=0, TasksMax=128, CPUQuota=100%, RuntimeMaxSec=1w 1d" in said


async def test_without_the_polkit_rule_jobs_wait_and_run_once_it_is_back(units: Device) -> None:
    none = "polkit.addRule(function (action) { if (/manage-units/.test(action.id)) { return polkit.Result.NO; } });\n"
    units.machine.write(POLKIT, none)
    await units.machine.run("systemctl restart polkit")
    units.create("waits", echo("hi"))
    await units.machine.run("until journalctl --unit iot-jobs-agent --lines 20 | grep -q 'polkit'; do sleep 0.1; done")
    assert units.status("waits") in {"QUEUED", "IN_PROGRESS"}
    await units.machine.run(f"rm {POLKIT}; systemctl restart polkit iot-jobs-agent")
    await units.ends("waits", "SUCCEEDED")


async def test_a_handler_with_the_profile_logs_reads_the_journal_as_a_user_of_its_own(units: Device) -> None:
    units.create("journal", {"operation": "reader"})
    await units.ends("journal", "SUCCEEDED")
    assert re.fullmatch(r"j-[0-9a-f]{24} warm", units.details("journal")["stdout"])


async def test_what_a_handler_leaves_in_its_directory_is_no_order_to_a_privileged_step(units: Device) -> None:
    removal = {"handler": "remove-packages.sh", "args": ["strace"]}
    steps = [("Plant", "runHandler", {"handler": "plants"}), ("Remove", "runHandler", removal)]
    units.create("plants", aws_document(*steps))
    await units.ends("plants", "SUCCEEDED")
    assert units.details("plants")["details"] == '{"removed":"strace"}'
    assert not units.machine.path("/srv/owned").exists()


@pytest.mark.parametrize(
    ("profile", "most"),
    [
        ("isolated", 0.5),
        ("describe", 0.5),
        ("network", 1.2),
        ("light", 2.5),
        ("services", 1.7),
        ("files", 2.1),
        ("logs", 1.2),
        ("packages", 6.8),
    ],
)
async def test_the_exposure_of_a_profile_is_as_small_as_is_said(units: Device, profile: str, most: float) -> None:
    unit = f"iot-job-{profile}@{'a' * 24}.service"
    said = await units.machine.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    assert float(re.search(r": ([0-9.]+) ", said)[1]) <= most


async def test_check_names_what_is_wrong_with_a_profile_and_the_fix(units: Device) -> None:
    shipped = units.machine.path("/usr/lib/systemd/system/iot-job-network@.service").read_text()
    config = units.machine.path("/etc/iot-jobs-agent/config.toml")
    before = config.read_text()
    wrong = re.sub("RuntimeMaxSec=.*", "RuntimeMaxSec=1min", shipped.replace("MemoryMax=", "MemmoryMax="))
    units.machine.write(f"{ETC}/iot-job-typo@.service", wrong, 0o666)
    root = shipped.replace("DynamicUser=yes\n", "").replace("User=j-%i\n", "")
    units.machine.write(f"{ETC}/iot-job-root@.service", root)
    own = shipped.replace("from iot_jobs_agent.shim.entry import main; sys.exit(main('%i'))", "pass")
    units.machine.write(f"{ETC}/iot-job-own@.service", own)
    tables = "".join(f'[handler.{name}]\nprofile = "{name}"\n' for name in ("typo", "own", "root"))
    for name in ("typo", "own", "root"):
        units.machine.write(f"{HANDLERS}/{name}", "#!/bin/sh\n", 0o755)
    units.machine.write(f"{FILES}/ca.pem", "")
    changed = before.replace('"spy"', '"spy", "typo", "own", "root"').replace(f"{HOME}/ca.pem", f"{FILES}/ca.pem")
    config.write_text(changed + tables)
    said = await units.machine.run("systemctl daemon-reload; iot-jobs-agent check || true")
    config.write_text(before)
    await units.machine.run(f"rm {ETC}/iot-job-typo@.service {ETC}/iot-job-own@.service {ETC}/iot-job-root@.service")
    assert "ok     profile network" in said
    for words in (
        'iot-job-nowhere@.service does not exist; write it (docs/security.md), or correct profile = "nowhere"',
        "iot-job-masked@.service is masked; run `systemctl unmask iot-job-masked@.service` (profile of masked)",
        f"{ETC}/iot-job-typo@.service is writable by others (mode 0666); run `chmod go-w",
        "Unknown key 'MemmoryMax' in section [Service]; correct or remove it",
        f"typo is unavailable: handler typo may run for 3630 s, but RuntimeMaxSec= in {ETC}/iot-job-typo@.service",
        f"{ETC}/iot-job-root@.service: the agent names the program that runs there, and its user is not",
        f"{ETC}/iot-job-own@.service: ExecStart= does not start the agent's first process",
        f"download-file has the privileged profile files, which does not believe this file: {FILES} belongs to user id",
    ):
        assert words in said, said
