"""`jobs`, `status` and `try` on a terminal of 80 columns, over a real journal and a real pseudo-terminal."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.state.test_status import PLAN

from iot_jobs_agent.commands.status import _text as status_text
from iot_jobs_agent.commands.terminal import duration_in_words, table, wrapped
from iot_jobs_agent.core.effects import Settle
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome
from iot_jobs_agent.core.state import Execution, Running, Settings, State, Work
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state.journal import Journal
from iot_jobs_agent.state.status import StatusBoard

COLUMNS = 80
REASON = "the package index could not be reached, and the copy that is kept on the device is older than thirty days"


class Terminal:
    """A command on a terminal of 80 columns, and what it has printed so far."""

    def __init__(self, *words: str) -> None:
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
        ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller in the background ignores it
        command = ["setsid", "--ctty", sys.executable, "-m", "iot_jobs_agent", *words]  # /dev/tty is this terminal, too
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment)
        signal.signal(signal.SIGINT, ignored)
        os.close(other)
        self.shown = ""

    def read_until(self, words: str) -> str:
        while words not in self.shown:
            self.shown += os.read(self.fd, 65536).decode().replace("\r\n", "\n")
        return self.shown

    def read(self) -> list[str]:
        with suppress(OSError):  # EIO: the other side is closed
            while chunk := os.read(self.fd, 65536):
                self.shown += chunk.decode().replace("\r\n", "\n")
        self.process.wait(20)
        return self.shown.splitlines()


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: str) -> Terminal:
        started.append(Terminal(*words))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        os.close(each.fd)


class Device:
    """A state directory with a journal, and a configuration that names it."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.config = directory / "config.toml"
        self.config.write_text(f"agent.state_directory = '{self.state}'\n")
        self._journal = Journal(self.state)
        self._journal.open()
        self._count = 0

    def settle(self, job_id: str, status: ExecutionStatus, reason: str = "") -> None:
        self._count += 1
        outcome = Outcome(status, reason)
        id_ = ExecutionId("", job_id, 1)
        effect = Settle(id_, "install-packages", outcome, time.time() - 2, service_accepted=True, queued_at=self._count)
        self._journal.write([effect])

    def close(self) -> None:
        self._journal.close()
        self._journal.thread.shutdown()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path)
    yield made
    made.close()


def test_field_g8_jobs_fit_the_terminal_have_a_header_and_break_no_word(
    device: Device, on_terminal: Callable[..., Terminal]
) -> None:
    device.settle("update-of-the-kernel-2026-11", ExecutionStatus.FAILED, REASON)
    device.settle("greet", ExecutionStatus.SUCCEEDED)
    lines = on_terminal("jobs", "--config", str(device.config)).read()
    assert max(map(len, lines)) <= COLUMNS
    assert lines[0].split() == ["SETTLED", "STATUS", "TOOK", "EXECUTION"]
    assert re.fullmatch(r"[-\d]{10} [:\d]{8}  SUCCEEDED +2\.\d s  greet", lines[2])
    words = " ".join(lines).split()
    assert " ".join(words).count(REASON) == 1
    assert {"update-of-the-kernel-2026-11", "install-packages", "OPERATION", "REASON"} <= set(words)


def test_field_g8_what_a_program_reads_is_one_line_for_each_execution(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.settle("update-of-the-kernel-2026-11", ExecutionStatus.FAILED, f"{REASON}\n\x1b[2J")
    done = subprocess.run(
        [sys.executable, "-m", "iot_jobs_agent", "jobs", "--config", str(device.config)],
        capture_output=True,
        text=True,
        check=True,
    )
    header, line = done.stdout.splitlines()
    assert header.split() == ["SETTLED", "STATUS", "TOOK", "EXECUTION", "OPERATION", "REASON"]
    assert line.endswith(f"{REASON}��[2J")
    assert line.index("install-packages") == header.index("OPERATION")


def test_field_g8_jobs_follow_prints_what_is_settled_from_then_on(
    device: Device, on_terminal: Callable[..., Terminal]
) -> None:
    for name in ("first", "second"):
        device.settle(name, ExecutionStatus.SUCCEEDED)
    following = on_terminal("jobs", "--follow", "--limit", "1", "--config", str(device.config))
    assert "first" not in following.read_until("second")
    device.settle("third", ExecutionStatus.REJECTED, "not for me")
    shown = following.read_until("not for me")
    assert [shown.count(word) for word in ("SETTLED", "second", "third")] == [1, 1, 1]
    following.process.send_signal(signal.SIGINT)
    following.read()
    assert following.process.returncode == 130


def board_content(message: str = "", claimed_at: float = 0.0, expires_at: float | None = None) -> dict[str, object]:
    execution = Execution(ExecutionId("", "job-1", 1), Running(Work(PLAN), message=message), "greet", claimed_at)
    state = State(Settings("me"), is_connected=True, executions={execution.id: execution})
    return StatusBoard("lamp", expires_at).content(state)


def test_field_g8_status_watch_shows_what_changes(device: Device, on_terminal: Callable[..., Terminal]) -> None:
    state_directory.write_status(device.state, board_content("copying one", time.time() - 200))
    watching = on_terminal("status", "--watch", "--config", str(device.config))
    assert re.search(r"execution  job-1  greet  running  for 3 min 2\d s  copying one", watching.read_until("one"))
    state_directory.write_status(device.state, board_content("copying two", time.time() - 200))
    assert watching.read_until("copying two").count("\x1b[H\x1b[J") >= 2
    watching.process.send_signal(signal.SIGINT)
    watching.read()
    assert watching.process.returncode == 130


def test_field_g8_status_fits_the_terminal(device: Device, on_terminal: Callable[..., Terminal]) -> None:
    state_directory.write_status(device.state, board_content(REASON))
    lines = on_terminal("status", "--config", str(device.config)).read()
    assert max(map(len, lines)) <= COLUMNS
    at = next(number for number, line in enumerate(lines) if line.startswith("execution"))
    assert lines[at + 1].startswith(" " * 11)
    assert REASON in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("left_s", "line"),
    [
        (400 * 86400 + 3 * 3600 + 60, "in 400 d 3 h"),
        (20 * 86400 + 60, "in 20 d; replace it soon"),
        (-3 * 86400 - 60, "3 d ago: replace it and restart the agent"),
    ],
)
def test_field_g8_status_says_until_when_the_certificate_is_valid(left_s: float, line: str) -> None:
    shown = status_text(json.loads(json.dumps(board_content(expires_at=time.time() + left_s))) | {"is_running": True})
    [found] = [each for each in shown.splitlines() if each.startswith("expire")]
    assert found.startswith("expired    the certificate, " if left_s < 0 else "expires    the certificate, ")
    assert found.endswith(line)


def test_field_g8_a_handler_cannot_command_the_terminal_or_forge_a_line_of_try(
    tmp_path: Path, on_terminal: Callable[..., Terminal]
) -> None:
    handler = tmp_path / "evil"
    handler.write_text(
        "#!/bin/sh\n"
        'printf \'{"message": "\\\\u001b[2Jx\\\\noutcome   SUCCEEDED", "details": {"a": "\\\\u001b[1m"}}\\n\' >&3\n'
        "printf '\\033[31mred\\007\\n'\nprintf '\\033]0;title\\007 %s\\n' \"$(seq -s ' ' 40)\" >&2\nexit 3\n"
    )
    handler.chmod(0o755)
    terminal = on_terminal("try", str(handler), "{}")
    lines = terminal.read()
    assert terminal.process.returncode == 1
    assert "".join(lines).isprintable()
    assert max(map(len, lines)) <= COLUMNS
    assert next(line for line in lines if line.startswith("outcome")).startswith("outcome   FAILED  [exit-code]")
    assert "progress  outcome   SUCCEEDED" in lines


@pytest.mark.parametrize("command", ["handlers", "try"])
def test_a_handler_that_is_asked_what_it_declares_cannot_get_at_the_terminal(
    command: str, on_terminal: Callable[..., Terminal], device: Device
) -> None:
    asked = device.state / "asked"
    script = f"#!/bin/sh\n# iot-jobs-agent: describe\necho spoilt > /dev/tty\necho \"$1\" >> {asked}\necho '{{}}'\n"
    (directory := device.state / "handlers").mkdir()
    (handler := directory / "spoils").write_text(script)
    handler.chmod(0o755)
    config = f"[handlers]\nenabled = ['spoils']\ndirectories = ['{directory}']\n"
    device.config.write_text(device.config.read_text() + config)
    given = [str(handler), "{}"] if command == "try" else ["--config", str(device.config)]
    lines = on_terminal(command, *given).read()
    assert asked.read_text().splitlines()[0] == "describe"
    assert "spoilt" not in "".join(lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (86401, "1 d"),
        (40 * 86400 + 3 * 3600, "40 d 3 h"),
    ],
)
def test_field_g8_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


def test_field_g8_a_word_that_is_wider_than_the_terminal_is_the_only_one_that_is_broken() -> None:
    assert wrapped(f"reason    {'x' * 40} end", 30, 10).splitlines()[0] == "reason"[:6] + "    " + "x" * 20
    assert table([["a", "b" * 30, ""]], 20)[0].replace("\n", "").replace(" ", "") == "a" + "b" * 30
