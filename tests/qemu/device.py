"""The device of these stories: what is on it, and what may be asked of it and of its service."""

import io
import json
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from debian import run
from disk import HOST_NAME
from qemu import Machine
from tests.support.on_record import FILES, PATIENT, THING, OnRecord

from iot_jobs_simulator.server import RunningSimulator

ROOT = Path(__file__).parents[2]
DROP_INS = "/etc/systemd/system/iot-jobs-agent.service.d"
HOME = "/etc/iot-jobs-agent"
COMMAND = f"iot-jobs-agent {{}} --config {HOME}/config.toml"
UP_S, OVER_S = 120, 180  # without KVM, a start of Python takes seconds

CONFIG = """
[aws]
endpoint = "{host}"
port = {mqtts_port}
https_port = {https_port}
thing_name = "{thing}"
certificate = "${{CREDENTIALS_DIRECTORY}}/certificate.pem"
private_key = "${{CREDENTIALS_DIRECTORY}}/private.key"
root_ca = "${{CREDENTIALS_DIRECTORY}}/root-ca.pem"
[agent]
max_concurrent = 3
[handlers]
enabled = ["run-command", "reboot", "patient", "again", "onward", "eater", "bomb"]
directories = ["/etc/iot-jobs-agent/handlers"]
[handler.run-command]
programs = ["/bin/echo", "/usr/bin/id"]
[handler.reboot]
may_reboot = true
[handler.again]
on_interrupt = "rerun"
[handler.onward]
on_interrupt = "resume"
"""
# Takes memory until there is none.
EATER = """#!/bin/sh
echo '{"progress": 1, "message": "up"}' >&3
exec tail /dev/zero
"""
# Starts processes until it may start no more, and keeps them.
BOMB = """#!/bin/sh
mkfifo "$JOB_DIR/never"
( while :; do ( : < "$JOB_DIR/never" ) & done ) 2> /dev/null
echo '{"progress": 1, "message": "up"}' >&3
exec sleep infinity
"""
HANDLERS = {"patient": PATIENT, "again": PATIENT, "onward": PATIENT, "eater": EATER, "bomb": BOMB}
DROP_IN = f"[Service]\nReadWritePaths={FILES}\n"


def install(package: Path) -> Callable[[Path], None]:
    """Return what puts the package onto a device, as it is in an image of a fleet's devices."""

    def put(root: Path) -> None:
        run("cp", package, root / "tmp/agent.deb")
        own_proc = ("unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc")  # systemd-tmpfiles reads it
        run(*own_proc, "chroot", root, "dpkg", "--install", "/tmp/agent.deb")
        (root / "tmp/agent.deb").unlink()
        drop_ins = root / DROP_INS.removeprefix("/")
        drop_ins.mkdir()
        (drop_ins / "files.conf").write_text(DROP_IN)
        run("chroot", root, "install", "-d", "-o", "iot-jobs-agent", "-g", "iot-jobs-agent", FILES)
        run("mkfifo", "--mode=666", root / f"{FILES}/gate".removeprefix("/"))
        run("chmod", "666", root / f"{FILES}/gate".removeprefix("/"))

    return put


@dataclass
class Device(OnRecord):
    """The computer, and the service that it is a thing of."""

    machine: Machine
    sim: RunningSimulator
    arn: str

    async def set_up(self, *, start: bool = True) -> None:
        """Give it the right time, credentials, configuration, handlers; start the agent, now and at each boot."""
        names = {"client.pem": "certificate.pem", "client.key": "private.key", "ca.pem": "root-ca.pem"}
        files = {f"credentials/{names[each]}": (self.sim.certificates / each).read_bytes() for each in names}
        ports = {"mqtts_port": self.sim.mqtts_port, "https_port": self.sim.https_port}
        files |= {f"handlers/{name}": text.encode() for name, text in HANDLERS.items()}
        files["config.toml"] = CONFIG.format(host=HOST_NAME, thing=THING, **ports).encode()
        await self.machine.do(
            f"""
            date --set=@{time.time():.0f}
            cd {HOME}
            mkdir --parents handlers
            tar --extract --no-same-owner
            chgrp iot-jobs-agent config.toml
            chmod 640 config.toml
            systemctl enable --quiet iot-jobs-agent
            chmod 755 handlers handlers/*
            sync""",
            _archive(files),
        )
        if start:
            await self.machine.do("systemctl start iot-jobs-agent")

    async def is_up(self, job: str) -> None:
        """Wait until the job's handler says that it is there."""
        await self._until(lambda: self.says_it_is_up(job), job, UP_S)

    async def is_over(self, job: str) -> str:
        """Wait for the end, and return its status once all is seen to be sound: O, T and P of docs/reliability.md."""
        await self._until(lambda: self.is_terminal(job), job, OVER_S)
        status = self.only_end(job)
        ledger = await self.ledger()
        assert max(Counter(ledger).values(), default=0) <= 1, ledger
        assert await self.alive(job) == ""
        return status

    async def ends(self, job: str, status: str) -> None:
        """Wait for the end, which must be this one."""
        assert await self.is_over(job) == status, (job, self.details(job), await self.log())

    async def known(self) -> dict[str, str]:
        """Return the jobs that the agent has settled, with their status, once nothing is under way."""
        words = [COMMAND.format(each) for each in ("pause --wait --timeout 60", "jobs --json --limit 200", "resume")]
        said = await self.machine.do(f"{words[0]} > /dev/null; {words[1]}; {words[2]} > /dev/null")
        return {each["job_id"]: each["status"] for each in json.loads(said)}

    async def alive(self, job: str) -> str:
        """Return the processes of the job's attempts."""
        return await self.machine.do(f"grep -lzx 'JOB_ID={job}' /proc/[0-9]*/environ 2> /dev/null || true")

    async def ledger(self) -> list[str]:
        return (await self.machine.do(f"cat {FILES}/ledger 2> /dev/null || true")).splitlines()

    async def open_gate(self) -> None:
        """Let one handler go on, now or when it comes to the gate."""
        await self.machine.do(f"setsid sh -c 'echo opened > {FILES}/gate' < /dev/null > /dev/null 2>&1 &")

    async def shows(self, name: str) -> str:
        """Return a property of the agent's unit."""
        return (await self.machine.do(f"systemctl show --property={name} --value iot-jobs-agent")).strip()

    async def limit(self, setting: str) -> None:
        """Give the agent's unit one more setting; "" for none."""
        await self.machine.do(f"printf '[Service]\\n{setting}\\n' > {DROP_INS}/limit.conf; systemctl daemon-reload")

    async def logs(self, words: str) -> None:
        """Wait until the agent has logged these words."""
        look = f"until journalctl --unit iot-jobs-agent | grep --quiet '{words}'; do sleep 1; done"
        await self.machine.do(look, within_s=OVER_S)

    async def log(self) -> str:
        """Return what the agent logged last, for people."""
        return await self.machine.do("journalctl --unit iot-jobs-agent --no-pager --lines 40")

    async def _until(self, is_so: Callable[[], bool], job: str, within_s: float) -> None:
        try:
            await self.sim.wait_until(is_so, within_s=within_s)
        except TimeoutError:
            found = (job, self.status(job), self.details(job))
            raise AssertionError(f"{found} after {within_s} s\n{await self.log()}") from None


def _archive(files: dict[str, bytes]) -> bytes:
    """Return a tar with these files, for root alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def build_package(architecture: str, target: Path) -> Path:
    """Build the agent's package from this checkout, as a release is built."""
    run(str(ROOT / "packaging/build-deb"), "--architecture", architecture, "--output", target)
    (package,) = target.glob("*.deb")
    return package


def sources() -> bytes:
    """Return all that the package is made from, but for its pages, which no story reads."""
    places = ("agent", "handlers", "simulator", "systemd", "packaging", "pyproject.toml")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *places]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / each for each in sorted(filter(None, listed.split("\0")))]
    return b"".join(str(path).encode() + path.read_bytes() for path in paths if path.is_file())
