"""A computer of its own: QEMU with a kernel, a disk, a network and a way in. It can lose its power at any moment.

A power cut is a SIGKILL of QEMU: what the guest's kernel had not written is lost, and so is what qcow2 had not noted
of it, while what the guest flushed is on this machine's disk.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian import Debian
from tests.support.packages import run

MEMORY_MIB = 384
BOOT_S = 600.0  # without KVM, on a machine that does other things too: 20 to 90, and minutes for another architecture
COMMAND_S = 120.0
LINE_BYTES = 64 << 20
COMMANDS = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
MACHINES = {"amd64": "q35", "arm64": "virt"}
CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
SLOW = ("-accel", "tcg,tb-size=256", "-cpu", "max")
PROBE_S = 10.0  # with KVM, a kernel is there in two


class MachineError(Exception):
    """The machine did not do what it was told; the message has the end of its console."""


@dataclass(frozen=True)
class Said:
    """What became of a script."""

    status: int
    stdout: str
    stderr: str


def command_line(system: Debian, accelerator: tuple[str, ...], words: str) -> list[str]:
    """Return how QEMU is started with the system's kernel; `words` are for the kernel."""
    console = f"console={CONSOLES[system.architecture]}"
    return [
        *("setpriv", "--pdeathsig", "KILL", COMMANDS[system.architecture]),  # it never outlives the tests
        *("-M", MACHINES[system.architecture], *accelerator, "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(system.kernel), "-initrd", str(system.initrd)),
        *("-append", f"{console} quiet panic=-1 net.ifnames=0 audit=0 {words}"),
    ]


async def fastest(system: Debian) -> tuple[str, ...]:
    """Return the options of an accelerator with which a kernel really boots here: KVM's if it does, else TCG's."""
    if not Path("/dev/kvm").exists():
        return SLOW
    for processor in ("host", "qemu64") if system.architecture == "amd64" else ("host",):
        options = ("-accel", "kvm", "-cpu", processor)
        process = await asyncio.create_subprocess_exec(
            *command_line(system, options, "test.probe"),
            "-no-reboot",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = b""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    while received := await process.stdout.read(4096):
                        said += received
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if b"a kernel has booted" in said:
            return options
    return SLOW


@dataclass
class Machine:
    """One computer. `start` it, `run` things, `cut_power`, `start` it again. `boots` has the boot ids."""

    system: Debian
    disk: Path  # qcow2; `overlay` makes one
    accelerator: tuple[str, ...]
    boots: list[str] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def console(self) -> str:
        """What its kernel and systemd wrote, over all boots."""
        path = self.disk.with_suffix(".console")
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self, *options: str, words: str = "", moment: str = "") -> None:
        """Switch it on, as it was at a saved moment if one is given; it is up when this returns."""
        known = len(self.boots)
        ends = [socket.socketpair() for _ in range(2)]
        (shell, shell_end), (monitor, monitor_end) = ends
        disk = f"if=virtio,format=qcow2,cache=writeback,file={self.disk}"
        with self.disk.with_suffix(".console").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                *command_line(self.system, self.accelerator, words),
                *("-drive", disk, "-nic", "user,model=virtio-net-pci,ipv6=off", "-device", "virtio-rng-pci"),
                *("-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}", "-mon", "chardev=monitor,mode=control"),
                *("-chardev", f"socket,id=shell,fd={shell_end.fileno()}", "-device", "virtio-serial-pci"),
                *("-device", "virtserialport,chardev=shell,name=shell"),
                *(("-loadvm", moment) if moment else ()),
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[shell_end.fileno(), monitor_end.fileno()],
            )
        shell_end.close()
        monitor_end.close()
        self._shell = await asyncio.open_connection(sock=shell, limit=LINE_BYTES)
        self._monitor = await asyncio.open_connection(sock=monitor, limit=LINE_BYTES)
        self._tasks = [asyncio.create_task(self._listen())]
        await self._manage("qmp_capabilities")
        if not moment:
            await self.has_booted(known + 1)

    async def has_booted(self, times: int) -> None:
        """Wait until it has come up so often."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        up = asyncio.create_task(self._wait_for_boot(times))
        try:
            await asyncio.wait({ended, up}, timeout=BOOT_S, return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                raise MachineError(f"not up after {BOOT_S:.0f} s, or ended.\n{self.console[-3000:]}")
        finally:
            ended.cancel()
            up.cancel()

    async def run(self, script: str, given: bytes = b"", *, within_s: float = COMMAND_S) -> Said:
        """Run a shell script as root."""
        request = {"id": next(self._numbers), "script": script, "input": base64.b64encode(given).decode()}
        answer = self._answers[request["id"]] = asyncio.get_running_loop().create_future()
        self._shell[1].write(json.dumps(request).encode() + b"\n")
        try:
            async with asyncio.timeout(within_s):
                said = await answer
        except TimeoutError:
            raise MachineError(f"no answer within {within_s:.0f} s: {script}\n{self.console[-3000:]}") from None
        finally:
            del self._answers[request["id"]]
        stdout, stderr = (base64.b64decode(said[name]).decode() for name in ("stdout", "stderr"))
        return Said(said["status"], stdout, stderr)

    async def do(self, script: str, given: bytes = b"", *, within_s: float = COMMAND_S) -> str:
        """Run a shell script as root, and return what it wrote; it must end with 0."""
        said = await self.run(script, given, within_s=within_s)
        assert said.status == 0, f"{script}\nended with {said.status}\n{said.stdout}{said.stderr}"
        return said.stdout

    async def save(self, moment: str) -> None:
        """Keep this moment on the disk, memory and all."""
        await self._manage("human-monitor-command", **{"command-line": f"savevm {moment}"})

    async def cut_power(self) -> None:
        """End it at once. Nothing is left of it but its disk."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None
            for _, writer in (self._shell, self._monitor):
                writer.close()

    async def _manage(self, command: str, **arguments: str) -> None:
        """Tell QEMU to do something (QMP). It must succeed in silence."""
        reader, writer = self._monitor
        writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := await reader.readline():
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                if answer.get("return") in ({}, ""):
                    return
                raise MachineError(f"{command} {arguments}: {answer}")
        raise MachineError(f"QEMU has ended: {self.console[-3000:]}")

    async def _listen(self) -> None:
        while line := await self._shell[0].readline():
            answer = json.loads(line)
            if boot_id := answer.get("boot"):
                async with self._news:
                    self.boots.append(boot_id)
                    self._news.notify_all()
                for waiting in self._answers.values():
                    if not waiting.done():
                        waiting.set_exception(MachineError("it has rebooted meanwhile"))
            elif (waiting := self._answers.get(answer["id"])) and not waiting.done():
                waiting.set_result(answer)

    async def _wait_for_boot(self, times: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.boots) >= times)


def overlay(disk: Path, target: Path, *, format_: str = "raw") -> None:
    """Make a disk that has all that the other one has, and takes what is written."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", format_, target)


@contextlib.asynccontextmanager
async def running(machine: Machine, *options: str, words: str = "", moment: str = "") -> AsyncIterator[Machine]:
    """Switch it on for the block, and off in any case."""
    try:
        await machine.start(*options, words=words, moment=moment)
        yield machine
    finally:
        await machine.cut_power()
