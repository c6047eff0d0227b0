"""A `dbus-daemon` of a test's own, and the stand-in for systemd on it (tests.support.systemd_stand_in)."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.support.files import ROOT

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow receive_sender="*"/>
<deny send_interface="org.freedesktop.systemd1.Manager" send_member="Reexecute"/></policy></busconfig>
"""


class Systemd:
    """The place of a bus and of systemd on it, which are started and stopped apart."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.bus = place / "bus"
        os.mkfifo(place / "news")
        self.news = os.open(place / "news", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.daemon: subprocess.Popen[str] | None = None
        self.manager: subprocess.Popen[str] | None = None
        self.behave()

    def behave(self, **behaviour: Any) -> None:
        fresh = self.place / "behave.new"
        fresh.write_text(json.dumps(behaviour))
        fresh.rename(self.place / "behave.json")

    def calls(self, *methods: str) -> list[list[Any]]:
        """Return the calls of these methods so far, each with its arguments."""
        lines = (self.place / "calls").read_text().splitlines() if (self.place / "calls").exists() else []
        return [call for call in map(json.loads, lines) if call[0] in methods]

    async def called(self, method: str, times: int = 1, within_s: float = 15.0) -> None:
        """Wait until a method was called so often."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.news, news.set)
        try:
            async with asyncio.timeout(within_s):
                while len(self.calls(method)) < times:
                    await news.wait()
                    news.clear()
                    with contextlib.suppress(BlockingIOError):  # the loop may have told it twice
                        os.read(self.news, 65536)
        finally:
            loop.remove_reader(self.news)

    def start_bus(self) -> None:
        (self.place / "bus.conf").write_text(CONFIG.format(address=f"unix:path={self.bus}"))
        self.bus.unlink(missing_ok=True)
        command = ["dbus-daemon", f"--config-file={self.place}/bus.conf", "--nofork", "--print-address"]
        with (self.place / "bus.log").open("ab") as log:  # it may not raise its limits, and says so each time
            self.daemon = started(command, log)

    def start(self) -> None:
        self.start_bus()
        self.manager = started([sys.executable, "-m", "tests.support.systemd_stand_in", str(self.place)])

    def restart_bus(self) -> None:
        """End the bus as a crash would, and start another; systemd comes back to it."""
        assert self.daemon is not None
        assert self.manager is not None
        assert self.manager.stdout is not None
        end(self.daemon)
        self.start_bus()
        assert self.manager.stdout.readline()

    def stop(self) -> None:
        for process in (self.manager, self.daemon):
            if process is not None:
                end(process)
        self.manager = self.daemon = None

    def close(self) -> None:
        self.stop()
        os.close(self.news)


def started(command: list[str], stderr: IO[bytes] | None = None) -> subprocess.Popen[str]:
    """Start a program of the test's session that says a line when it is ready."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        process.stdout.close()
        raise ChildProcessError(process.wait())
    return process


def end(process: subprocess.Popen[str]) -> None:
    """End a program and all that it has started; when this returns, none of them writes to any file."""
    with contextlib.suppress(ProcessLookupError):  # a test has ended it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.read()  # its end is that of the last one that inherited it
    process.stdout.close()


@contextlib.contextmanager
def place_of_its_own() -> Iterator[Path]:
    """Make a directory with a path that is short enough for sockets, and that another user may pass through."""
    place = Path(tempfile.mkdtemp(prefix="units-"))
    try:
        place.chmod(0o711)
        for name in ("sockets", "ended", "home", "tmp"):
            (place / name).mkdir(mode=0o711)
            (place / name).chmod(0o711)
        yield place
    finally:
        shutil.rmtree(place)


# What comes first in a shim of a test: where the bus is, and what is as on a device otherwise.
PLACED = """
import sys
sys.path.append(sys.argv[1])
from iot_jobs_agent.shim import bus, door, unit
place = {place!r}
bus.SYSTEM_BUS, door.SOCKETS, unit.ENDED = place + "/bus", place + "/sockets", place + "/ended"
unit.ASKED_S, door.BUS_S = 0.5, 3.0
"""
BOOT = f"""
import os
os.environ.clear()
{PLACED}
from iot_jobs_agent.shim.supervisor import main
sys.exit(main(sys.argv[2]))
"""


class UnitLauncher:
    """Starts shims as `launchers.plain` does, for the bus of a test; measured where the test's own process is."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, directory: Path) -> int:
        measured = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_PROCESS")}
        options = [] if measured else ["-I", "-S"]
        boot = BOOT.format(place=str(self.place))
        with (directory / "shim.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *options, "-c", boot, str(ROOT / "agent"), str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
                env={"LC_ALL": "C.UTF-8"} | measured,
                start_new_session=True,
            )
        process.returncode = 0
        return process.pid
