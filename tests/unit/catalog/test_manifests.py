"""What handlers say of themselves: who is asked, how, and when again."""

import asyncio
import json
import os
import select
import signal
from pathlib import Path

import pytest
from tests.support.catalog import Device, describing

from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.manifests import needs_line


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


@pytest.mark.parametrize(
    ("text", "is_asked", "is_advised"),
    [
        ("#!/bin/sh\ntouch {asked}\n", False, False),
        ("#!/bin/sh\n# does what describe cannot\ntouch {asked}\n", False, False),
        ("#!/bin/sh\n  # describe\ntouch {asked}\n", False, False),
        ("#!/bin/sh\n# iot-jobs-agent: describe\ntouch {asked}\n", True, False),
        ("#!/bin/sh\ncase $1 in describe) touch {asked};; esac\n", True, True),
        ("#!/bin/sh\n# iot-jobs-agent: describe\n[ $1 = describe ] && touch {asked}\n", True, False),
        ("touch {asked} # describe\n# iot-jobs-agent: describe\n", False, False),
    ],
)
async def test_field_a4_only_who_says_so_is_asked(device: Device, text: str, is_asked: bool, is_advised: bool) -> None:
    asked = device.state / "asked"
    path = device.install("reboot.sh", text.format(asked=asked))
    catalog = device.catalog("reboot")
    await catalog.refresh()
    assert catalog.enabled()["reboot"].unavailable == ""
    assert (asked.exists(), needs_line(path)) == (is_asked, is_advised)


async def test_field_a4_a_manifest_may_stand_beside_what_is_never_run(device: Device) -> None:
    asked = device.state / "asked"
    device.install("copy", f"#!/bin/sh\n# iot-jobs-agent: describe\ntouch {asked}\n")
    beside = device.install("copy.manifest.json", '{"timeout_s": 5}', mode=0o644)
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert (catalog.enabled()["copy"].timeout_s, catalog.enabled()["copy"].unavailable) == (5, "")
    assert "copy.manifest" not in catalog.known()
    device.install("copy.manifest.json", '{"timeout_s": 6}', mode=0o644)
    await catalog.refresh()
    assert catalog.enabled()["copy"].timeout_s == 6
    device.install("copy.manifest.json", "[]", mode=0o644)
    await catalog.refresh()
    assert catalog.enabled()["copy"].unavailable == f"{beside} is not a JSON object"
    device.install("copy.manifest.json", "{}", mode=0o666)
    await catalog.refresh()
    assert "is writable by others" in catalog.enabled()["copy"].unavailable
    assert not asked.exists()


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (describing(timeout_s=-1), 0o755, "its manifest is wrong at timeout_s: input should be greater than 0"),
        (describing(colour=1), 0o755, "its manifest is wrong at colour: extra"),
        (describing(name="other"), 0o755, "another name"),
        ("#!/bin/sh\n", 0o644, "is not executable by the agent; run `chmod 755"),
        ("#!/no/such/interpreter\n: describe\n", 0o755, "cannot be started: the interpreter named in its first"),
        ("#! /no/such/interpreter -e\n", 0o755, "first line does not exist: install /no/such/interpreter, or correct"),
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "#!/bin/sh\n# iot-jobs-agent: describe\necho \"{'name': 'copy'}\"\n",
            "describe` printed an answer that is not JSON at line 1, column 2: expecting property name enclosed in",
        ),
        (
            "#!/bin/sh\n# iot-jobs-agent: describe\necho hello\n",
            "describe` printed an answer that is not JSON at line 1",
        ),
        ("#!/bin/sh\n# iot-jobs-agent: describe\necho []\n", "describe` printed an answer that is not a JSON object"),
        ("#!/bin/sh\n: describe\necho '{,}'\n", "describe` printed an answer that is not JSON at line 1, column 2"),
        ("#!/bin/sh\r\necho hi\r\n", "cannot be started: its lines end with CR LF as on Windows; save it with LF"),
        ("#!/usr/bin/env python3\r\n", "cannot be started: its lines end with CR LF as on Windows; save it with LF"),
        (
            "\ufeff#!/bin/sh\n",
            "cannot be started: it has a byte order mark in front of #!; save it as UTF-8 without one",
        ),
    ],
)
async def test_field_g5_what_an_editor_or_a_quote_broke_is_told_in_words(
    device: Device, text: str, reason: str
) -> None:
    device.install("copy", text)
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert reason in catalog.enabled()["copy"].unavailable


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
    device.install("h", f"#!/bin/sh\n# iot-jobs-agent: describe\ncat /proc/$$/stat > {told}\necho '{{}}'\n")
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


async def test_an_executable_that_could_not_be_started_is_asked_again_when_that_is_wanted(device: Device) -> None:
    interpreter = device.handlers.parent / "interpreter"
    device.install("copy", f"#!{interpreter}\n: describe\n")
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert "cannot be started" in catalog.enabled()["copy"].unavailable
    interpreter.symlink_to("/bin/sh")
    await catalog.refresh(again=True)
    assert catalog.enabled()["copy"].unavailable == ""


async def test_field_a4_a_child_in_a_session_of_its_own_holds_nobody_up_and_is_killed(device: Device) -> None:
    pid = device.state / "pid"
    script = f"#!/bin/sh\n: describe\nsetsid sh -c 'echo $$ > {pid}; exec tail -f /dev/null' &\nwait\n"
    device.install("copy", script)
    catalog = Catalog(device.catalog("copy")._config, worker=device.worker, describe_timeout_s=1.0)
    await catalog.refresh()
    assert "did not end within 1 s" in catalog.enabled()["copy"].unavailable
    assert not is_running(pid.read_text().strip())


def is_running(pid: str) -> bool:
    """Neither gone nor a zombie that its new parent has not collected yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


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


async def test_what_is_kept_is_read_at_the_first_question(device: Device) -> None:
    """A privileged unit's first process only looks for a handler, and so opens nothing of the agent's."""
    later = device.catalog("write-file")
    await device.catalog("write-file").refresh()
    assert later.find("write-file").argv
    await later.refresh()
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


@pytest.mark.timeout(20)
def test_a_fifo_in_place_of_a_manifest_or_a_script_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "deploy")
    assert not needs_line(tmp_path / "deploy")
