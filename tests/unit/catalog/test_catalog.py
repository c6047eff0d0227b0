import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import config_of

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.core.job import OnInterrupt

STAND_IN = """\
    import json, os, sys
    specs = sys.argv[2:]
    with open({ledger!r}, "a") as ledger:
        print(json.dumps([sys.argv[1], specs, sorted(os.environ)]), file=ledger)
    told = json.load(open({told!r}))
    if any(told.get(spec) == "crash" for spec in specs):
        os.abort()
    print(json.dumps({{spec: told.get(spec, {{"error": "no module"}}) for spec in specs}}))
"""


class Device:
    """A state directory, a handler directory, and a worker whose answers are a file and whose calls leave a ledger."""

    def __init__(self, tmp_path: Path) -> None:
        self.handlers = tmp_path / "handlers"
        self.state = tmp_path / "state"
        self.ledger = tmp_path / "ledger"
        self.told = tmp_path / "told.json"
        self.handlers.mkdir()
        self.state.mkdir()
        self.ledger.touch()
        self.tell()
        worker = tmp_path / "worker.py"
        worker.write_text(textwrap.dedent(STAND_IN).format(ledger=str(self.ledger), told=str(self.told)))
        self.worker = (sys.executable, "-I", str(worker))

    def tell(self, **members: Any) -> None:
        write_file = {"name": "write-file", "timeout_s": 60, "max_timeout_s": 60, **members}
        answers = {
            "iot_jobs_handlers.write_file:HANDLER": write_file,
            "iot_jobs_handlers.run_command:HANDLER": {"name": "run-command", "may_reboot": True},
        }
        self.told.write_text(json.dumps(answers))

    def asked(self) -> list[list[str]]:
        return [json.loads(line)[1] for line in self.ledger.read_text().splitlines()]

    def install(self, name: str, text: str, *, mode: int = 0o755) -> Path:
        path = self.handlers / name
        draft = self.handlers.parent / "draft"
        draft.write_text(text)
        draft.chmod(mode)
        draft.replace(path)
        return path

    def catalog(self, *enabled: str, **sections: Any) -> Catalog:
        handlers = {"enabled": enabled, "directories": [str(self.handlers)], "run_as_users": ["kiosk"]}
        config = config_of(self.state, handlers=handlers, **sections)
        return Catalog(config, worker=self.worker, describe_timeout_s=5.0)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def describing(**manifest: Any) -> str:
    return f"#!/bin/sh\n[ \"$1\" = describe ] && echo '{json.dumps(manifest)}'\n"


async def test_only_enabled_handlers_are_found_and_asked(device: Device) -> None:
    device.install("copy", "#!/bin/sh\n: describe\ntouch asked\n")
    catalog = device.catalog("write-file")
    assert catalog.enabled() == {}
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert list(catalog.enabled()) == ["write-file"]
    assert handler.argv == (*device.worker, "iot_jobs_handlers.write_file:HANDLER")
    assert (handler.timeout_s, handler.unavailable, handler.directory) == (60, "", "")
    assert device.asked() == [["iot_jobs_handlers.write_file:HANDLER"]]
    assert set(catalog.known()) == {"copy", *BUILT_INS}
    assert catalog.known()["copy"].origin == str(device.handlers / "copy")


async def test_all_python_handlers_are_described_by_one_process_in_a_clean_environment(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    await device.catalog("run-command", "write-file").refresh()
    (call,) = map(json.loads, device.ledger.read_text().splitlines())
    assert call[0] == "--describe"
    assert call[1] == ["iot_jobs_handlers.run_command:HANDLER", "iot_jobs_handlers.write_file:HANDLER"]
    assert set(call[2]) <= {"PATH", "LANG", "JOB_PROTOCOL", "LC_CTYPE"}


async def test_the_configuration_overrides_the_manifest_and_gives_settings(device: Device) -> None:
    catalog = device.catalog(
        "write-file", handler={"write-file": {"timeout_s": 5, "on_interrupt": "rerun", "roots": ["/srv"]}}
    )
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert (handler.timeout_s, handler.max_timeout_s) == (5, 5)
    assert handler.on_interrupt is OnInterrupt.RERUN
    assert json.loads(handler.settings) == {"roots": ["/srv"]}


@pytest.mark.parametrize(
    ("name", "override", "may_reboot"),
    [("run-command", True, True), ("run-command", None, False), ("write-file", True, False)],
)
async def test_a_reboot_needs_the_word_of_manifest_and_configuration(
    device: Device, name: str, override: bool | None, may_reboot: bool
) -> None:
    section = {} if override is None else {"may_reboot": override}
    catalog = device.catalog(name, handler={name: section})
    await catalog.refresh()
    assert catalog.enabled()[name].may_reboot is may_reboot


async def test_an_executable_of_a_directory_wins_over_a_built_in(device: Device) -> None:
    path = device.install("write-file.sh", describing(timeout_s=7, summary="ours"))
    catalog = device.catalog("write-file")
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert (handler.argv, handler.directory) == ((str(path),), str(device.handlers))
    assert (handler.timeout_s, handler.summary, handler.name) == (7, "ours", "write-file")
    assert device.asked() == []


async def test_an_untrusted_executable_hides_the_built_in_of_its_name(device: Device) -> None:
    device.install("write-file", "#!/bin/sh\n", mode=0o777)
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert "is writable by others" in catalog.enabled()["write-file"].unavailable
    device.install("write-file", "#!/bin/sh\n", mode=0o755)
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == ""


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 1 # describe\n",
        "#!/bin/sh\necho describe: not JSON\n",
        "#!/bin/sh\necho '[]' # describe\n",
        "#!/bin/sh\n",
    ],
)
async def test_an_executable_need_not_describe_itself(device: Device, text: str) -> None:
    device.install("copy", text)
    catalog = device.catalog("copy")
    await catalog.refresh()
    handler = catalog.enabled()["copy"]
    assert (handler.unavailable, handler.name, handler.timeout_s) == ("", "copy", 3600)


async def test_a_script_that_does_not_know_the_word_describe_is_never_started(device: Device) -> None:
    device.install("reboot.sh", f"#!/bin/sh\ntouch {device.state}/rebooted\n")
    catalog = device.catalog("reboot")
    await catalog.refresh()
    assert catalog.enabled()["reboot"].unavailable == ""
    assert not (device.state / "rebooted").exists()


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (describing(timeout_s=-1), 0o755, "its manifest is wrong at timeout_s: input should be greater than 0"),
        (describing(colour=1), 0o755, "its manifest is wrong at colour: extra"),
        (describing(name="other"), 0o755, "another name"),
        ("#!/bin/sh\n", 0o644, "is not executable by the agent; run `chmod 755"),
        ("#!/no/such/interpreter describe\n", 0o755, "describe` cannot be started (no such file"),
        ("\x7fELF, or so it says", 0o755, "describe` cannot be started (exec format error)"),
        ("#!/bin/sh\nyes describe\n", 0o755, "said more than"),
    ],
)
async def test_a_broken_executable_is_unavailable_with_its_reason(
    device: Device, text: str, mode: int, reason: str
) -> None:
    device.install("copy", text, mode=mode)
    catalog = device.catalog("copy", "write-file")
    await catalog.refresh()
    assert reason in catalog.enabled()["copy"].unavailable
    assert catalog.enabled()["write-file"].unavailable == ""


async def test_an_executable_that_hangs_is_killed_with_its_children(device: Device) -> None:
    alive = device.state / "alive"
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    device.install("copy", f"#!/bin/sh\n: describe\nexec 9>{alive}\necho up >&9\ntail -f /dev/null &\nwait\n")
    config = device.catalog("copy")._config
    catalog = Catalog(config, worker=device.worker, describe_timeout_s=1.0)
    await catalog.refresh()
    assert "did not end within 1 s" in catalog.enabled()["copy"].unavailable
    os.set_blocking(reader, True)
    with os.fdopen(reader) as told:  # ends when nobody holds the other end any more
        assert await asyncio.wait_for(asyncio.to_thread(told.read), 20) == "up\n"


async def test_who_is_asked_stays_in_our_session_so_that_no_sweep_takes_it_for_a_stray(device: Device) -> None:
    told = device.handlers.parent / "stat"
    device.install("h", f"#!/bin/sh\n# describe\ncat /proc/$$/stat > {told}\necho '{{}}'\n")
    await device.catalog("h").refresh()
    session = told.read_text().rpartition(")")[2].split()[3]
    assert int(session) == os.getsid(0)


async def test_what_is_left_behind_by_an_answer_is_killed(device: Device) -> None:
    pid = device.state / "pid"
    script = f"#!/bin/sh\n: describe\ntail -f /dev/null > /dev/null &\necho $! > {pid}\n"
    device.install("copy", script + """echo '{"timeout_s": 7}'\n""")
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert catalog.enabled()["copy"].timeout_s == 7
    try:
        left = os.pidfd_open(int(pid.read_text()))
    except ProcessLookupError:
        return
    is_over, _, _ = select.select([left], [], [], 5)
    if not is_over:
        signal.pidfd_send_signal(left, signal.SIGKILL)
    os.close(left)
    assert is_over


async def test_a_passing_fault_is_asked_about_again_when_that_is_wanted(device: Device) -> None:
    worker = device.handlers.parent / "worker"
    worker.write_text("#!/bin/sh\nkill -KILL $$\n")
    worker.chmod(0o755)
    device.worker = (str(worker),)
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert "signal 9" in catalog.enabled()["write-file"].unavailable
    worker.write_text("""#!/bin/sh\necho '{"iot_jobs_handlers.write_file:HANDLER": {"name": "write-file"}}'\n""")
    await catalog.refresh()
    assert "signal 9" in catalog.enabled()["write-file"].unavailable
    await catalog.refresh(again=True)
    assert catalog.enabled()["write-file"].unavailable == ""


async def test_a_stray_that_holds_the_output_open_holds_nobody_up(device: Device) -> None:
    pid = device.state / "pid"
    script = f"#!/bin/sh\n: describe\nsetsid sh -c 'echo $$ > {pid}; exec tail -f /dev/null' &\nwait\n"
    device.install("copy", script)
    catalog = Catalog(device.catalog("copy")._config, worker=device.worker, describe_timeout_s=1.0)
    await catalog.refresh()
    assert "did not end within 1 s" in catalog.enabled()["copy"].unavailable
    os.kill(int(pid.read_text()), signal.SIGKILL)


def is_running(pid: str) -> bool:
    """Neither gone nor a zombie that its new parent has not collected yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


async def test_a_directory_in_place_of_a_handler_is_unavailable(device: Device) -> None:
    (device.handlers / "copy").mkdir()
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert "is not a regular file" in catalog.enabled()["copy"].unavailable


async def test_a_python_handler_that_cannot_be_imported_spoils_no_other(device: Device) -> None:
    device.told.write_text(
        json.dumps(
            {
                "iot_jobs_handlers.write_file:HANDLER": "crash",
                "iot_jobs_handlers.run_command:HANDLER": {"name": "run-command"},
            }
        )
    )
    catalog = device.catalog("write-file", "run-command")
    await catalog.refresh()
    assert "was ended by signal 6" in catalog.enabled()["write-file"].unavailable
    assert catalog.enabled()["run-command"].unavailable == ""


async def test_an_error_of_the_worker_is_the_reason_in_one_printable_line(device: Device) -> None:
    device.told.write_text(json.dumps({"iot_jobs_handlers.write_file:HANDLER": {"error": "No module\n\x1b named x"}}))
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == "No module ? named x"


async def test_a_worker_that_cannot_be_started_makes_python_handlers_unavailable(device: Device) -> None:
    catalog = Catalog(device.catalog("write-file")._config, worker=("/nowhere/python",))
    await catalog.refresh()
    assert "cannot be started" in catalog.enabled()["write-file"].unavailable


async def test_an_unknown_name_is_unavailable(device: Device) -> None:
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert "has this name; install it or remove it" in catalog.enabled()["copy"].unavailable


async def test_nobody_is_asked_twice_until_something_changed(device: Device) -> None:
    device.install("copy", describing(timeout_s=7))
    catalog = device.catalog("write-file", "copy")
    await catalog.refresh()
    await catalog.refresh()
    assert len(device.asked()) == 1
    device.install("copy", describing(timeout_s=8))
    await catalog.refresh()
    assert catalog.enabled()["copy"].timeout_s == 8
    assert len(device.asked()) == 1


async def test_a_restart_asks_nobody_whose_answer_is_kept(device: Device) -> None:
    await device.catalog("write-file").refresh()
    device.tell(timeout_s=1)
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert catalog.enabled()["write-file"].timeout_s == 60
    assert len(device.asked()) == 1


async def test_a_handler_that_was_broken_is_asked_again_after_a_restart(device: Device) -> None:
    device.told.write_text("{}")
    catalog = device.catalog("write-file")
    await catalog.refresh()
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == "no module"
    assert len(device.asked()) == 1
    device.tell()
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == ""


@pytest.mark.parametrize("kept", ["", "[]", '{"write-file": 3}', '{"write-file": {"fingerprint": "x"}}', "[" * 99999])
async def test_a_spoiled_cache_is_only_a_cache(device: Device, kept: str) -> None:
    (device.state / "manifests.json").write_text(kept)
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert catalog.enabled()["write-file"].timeout_s == 60


async def test_a_state_directory_that_is_not_there_is_no_obstacle(device: Device) -> None:
    device.state.rmdir()
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == ""


def package(site: Path, name: str, *, entry: str, spec: str) -> None:
    metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[iot_jobs_agent.handlers]\n{entry} = {spec}\n")
    (site / f"{spec.partition(':')[0]}.py").write_text("raise RuntimeError('imported by the agent')\n")


async def test_an_installed_handler_is_known_but_runs_only_when_enabled(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    device.told.write_text(json.dumps({"acme_flash:HANDLER": {"name": "flash", "timeout_s": 9}}))
    catalog = device.catalog()
    await catalog.refresh()
    assert catalog.enabled() == {}
    assert catalog.known()["flash"].origin == "package acme-jobs 1.0"
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].timeout_s == 9
    assert catalog.enabled()["flash"].argv[-1] == "acme_flash:HANDLER"
    (tmp_path / "site" / "acme_flash.py").chmod(0o666)
    await catalog.refresh()
    assert "is writable by others" in catalog.enabled()["flash"].unavailable


async def test_a_package_installed_while_the_agent_runs_is_found_at_the_next_refresh(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].unavailable != ""
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    device.told.write_text(json.dumps({"acme_flash:HANDLER": {"name": "flash"}}))
    await catalog.refresh()
    assert catalog.enabled()["flash"].unavailable == ""


async def test_two_packages_with_one_name_make_it_unavailable(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    package(tmp_path / "site", "evil-jobs", entry="flash", spec="evil_flash:HANDLER")
    package(tmp_path / "site", "evil-files", entry="write-file", spec="evil_write:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalog = device.catalog("flash", "write-file")
    await catalog.refresh()
    assert "both package" in catalog.enabled()["flash"].unavailable
    assert catalog.enabled()["write-file"].argv[-1] == "iot_jobs_handlers.write_file:HANDLER"


def test_the_rules_for_documents_come_from_the_configuration(device: Device) -> None:
    rules = device.catalog("run-command", handler={"run-command": {"programs": ["/bin/echo"]}}).rules()
    assert (rules.directories, rules.run_as_users) == ((str(device.handlers),), ("kiosk",))
    assert rules.programs == ("/bin/echo",)
    assert (
        rules.own_user
        == subprocess.run(["/usr/bin/id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    )


def test_known_names_are_legal_ones_only(device: Device) -> None:
    for name in ("copy.sh", "README.md", "Copy", ".hidden"):
        device.install(name, "#!/bin/sh\n")
    assert set(device.catalog().known()) == {"copy", *BUILT_INS}
