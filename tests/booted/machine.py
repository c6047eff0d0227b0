"""A Debian with systemd as PID 1: this machine's own files under an overlay, in a container that shares its network.

What it writes goes to a tmpfs, this machine stays as it is. A reboot is one that systemd does, with another boot id,
and a power cut ends every process at once. The kernel stays, so what was written and not synced outlives a power cut:
that is what `tests.faults crash` is about.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.files import ROOT, tracked

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S = 60.0
COMMAND_S = 170.0
REBOOT = 133  # exit status of systemd-nspawn
NSPAWN = ("systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit", "--console=pipe")
CGROUPS = ("payload", "supervisor")  # that systemd-nspawn makes below its own, and leaves
# What this machine starts beside the base system is none of the device's business, nor what its packages may start; and
# its mounts do not exist there.
FOREIGN = (
    *("etc/systemd/system/*.wants", "etc/systemd/system/*.requires", "etc/rc?.d", "etc/fstab"),
    "usr/sbin/policy-rc.d",
)


# All that a machine must allow, and nothing of ours: an overlay over its files, and a systemd that ends at once.
PROBE = f"""
mount -t tmpfs tmpfs "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" overlay "$0/root"
exec {" ".join(NSPAWN)} --directory="$0/root" --machine=probe -- --unit=exit.target
"""


class NoBootError(Exception):
    """The container did not boot; the message says what happened instead."""


def why_no_container_boots(scratch: Path) -> str:
    """Return why this machine does not let a container boot, "" if it does. Only this is a reason to skip a test."""
    command = ["unshare", "--mount", "sh", "-ec", PROBE, scratch]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOOT_S, check=False
        )
    except OSError as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return f"systemd did not end within {BOOT_S:.0f} s in one"
    finally:
        _forget_cgroups()
    return f"{done.stdout}{done.stderr}"[-500:] if done.returncode else ""


class Machine:
    """One device. Make it, `boot` it, `close` it. `boots` counts how often systemd has come up."""

    def __init__(self, directory: Path) -> None:
        self.boots = 0
        self._directory = directory
        self._log = directory.with_name(f"{directory.name}.log")
        self.root = directory / "root"
        self._leader = 0
        self._process: asyncio.subprocess.Process | None = None
        self._power: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notify.bind(str(directory.with_name(f"{directory.name}.notify")))

    def prepare(self) -> None:
        """Mount the overlay and lay out the files. Raises CalledProcessError."""
        self._directory.mkdir()
        _mount("-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", str(self._directory))
        upper, work = self._directory / "upper", self._directory / "work"
        for each in (upper, work, self.root):
            each.mkdir()
        _mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "overlay", str(self.root))
        for pattern in FOREIGN:
            for path in self.root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.root / "etc/machine-id").unlink(missing_ok=True)
        (self.root / "etc/machine-id").touch()

    def path(self, name: str) -> Path:
        """Return where an absolute path of the device is on this machine. What it mounts itself (/run, /tmp) is not."""
        return self.root / name.removeprefix("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's, with its directories."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    async def boot(self) -> None:
        """Switch it on, and return once systemd has come up. Raises NoBootError."""
        asyncio.get_running_loop().add_reader(self._notify, self._heard)
        self._power = asyncio.create_task(self._stay_on())
        up = asyncio.create_task(self.has_booted(self.boots + 1))
        await asyncio.wait({up, self._power}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done() or up.exception() is not None:
            up.cancel()
            await self.cut_power()
            raise NoBootError(f"no systemd within {BOOT_S:.0f} s: {self._log.read_text()[-2000:]}")

    async def _stay_on(self) -> None:
        """Run the container until it is off. One that was kept out of systemd's hands ends at its reboot, saying so."""
        status = REBOOT
        while status == REBOOT:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *NSPAWN,
                    "--notify-ready=yes",
                    f"--directory={self.root}",
                    "--machine=device",
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"NOTIFY_SOCKET": self._notify.getsockname()},
                )
            status = await self._process.wait()

    async def has_booted(self, times: int) -> None:
        """Wait until systemd has come up so often; TimeoutError if it does not."""
        async with asyncio.timeout(BOOT_S):
            while self.boots < times:
                self._news.clear()
                await self._news.wait()

    async def cut_power(self) -> None:
        """End every process at once: with its first one the kernel ends all others, and waits for them."""
        if self._power is None:
            return
        asyncio.get_running_loop().remove_reader(self._notify)
        if pid := self._leader or (self._process and self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._power
        self._power = None
        self._leader = 0

    async def run(self, script: str, *, directory: str = "/", environment: dict[str, str] | None = None) -> str:
        """Run a shell script as root, and return what it wrote; it must end with 0."""
        words = [f"{key}={value}" for key, value in ({"PATH": PATH} | (environment or {})).items()]
        namespaces = ["nsenter", f"--target={self._leader}", "--all"]
        process = await asyncio.create_subprocess_exec(
            *namespaces,
            *("env", "--ignore-environment", *words, "sh", "-ec", f"cd {directory}\n{script}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(COMMAND_S):
            said = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{script}\n{said}"
        return said

    async def boot_id(self) -> str:
        """Return the id of the boot it is in."""
        return await self.run("cat /proc/sys/kernel/random/boot_id")

    async def close(self) -> None:
        """Switch it off, and leave nothing."""
        await self.cut_power()
        self._notify.close()
        for path in (self.root, self._directory):
            _unmount(path)
        _forget_cgroups()

    def _heard(self) -> None:
        for line in self._notify.recv(65536).decode().splitlines():
            key, _, value = line.partition("=")
            if key == "X_NSPAWN_LEADER_PID":
                self._leader = int(value)
            elif line == "READY=1":
                self.boots += 1
                self._news.set()


def copy_checkout(target: Path) -> None:
    """Lay out the files of this checkout elsewhere, those that git ignores left out."""
    for source in tracked():
        path = target / source.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, path)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


def _forget_cgroups() -> None:
    for group in CGROUPS:
        for path in Path("/sys/fs/cgroup").glob(f"*/{group}"):
            _remove_empty(path)


def _remove_empty(directory: Path) -> None:
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
