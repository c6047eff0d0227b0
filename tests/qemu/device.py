"""The device of these stories: what is on it, and what may be asked of it and of its service."""

import io
import json
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from disk import HOST_NAME
from qemu import Machine
from tests.support import on_record
from tests.support.on_record import CREDENTIALS, FILES, HOME, OnRecord, configuration

from iot_jobs_simulator.server import RunningSimulator

COMMAND = f"iot-jobs-agent {{}} --config {HOME}/config.toml"
UP_S, OVER_S = 120, 180  # without KVM, a start of Python takes seconds

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
HANDLERS = {**on_record.HANDLERS, "eater": EATER, "bomb": BOMB}


@dataclass
class Device(OnRecord):
    """The computer, and the service that it is a thing of."""

    machine: Machine
    sim: RunningSimulator
    arn: str

    async def set_up(self, *, start: bool = True, launcher: str = "units") -> None:
        """Give it the right time, credentials, configuration, handlers; start the agent, now and at each boot."""
        files = {f"credentials/{to}": (self.sim.certificates / each).read_bytes() for each, to in CREDENTIALS.items()}
        files |= {f"handlers/{name}": text.encode() for name, text in HANDLERS.items()}
        config = configuration(self.sim, host=HOST_NAME, enabled=["eater", "bomb"], launcher=launcher)
        files["config.toml"] = config.encode()
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

    async def known(self, member: str = "status") -> dict[str, str]:
        """Return the jobs that the agent has settled, with their status, once nothing is under way."""
        words = [COMMAND.format(each) for each in ("pause --wait --timeout 60", "jobs --json --limit 200", "resume")]
        said = await self.machine.do(f"{words[0]} > /dev/null; {words[1]}; {words[2]} > /dev/null")
        return {each["job_id"]: each[member] for each in json.loads(said)}

    async def alive(self, job: str) -> str:
        """Return the processes of the job's attempts."""
        return await self.machine.do(f"grep -lzx 'JOB_ID={job}' /proc/[0-9]*/environ 2> /dev/null || true")

    async def handlers(self) -> str:
        """Return the units of handlers that are there."""
        said = await self.machine.do("systemctl list-units --plain --no-legend 'iot-job-*@*.service'")
        return "\n".join(line for line in said.splitlines() if "iot-job-forget" not in line)

    async def ledger(self) -> list[str]:
        return (await self.machine.do(f"cat {FILES}/ledger 2> /dev/null || true")).splitlines()

    async def open_gate(self) -> None:
        """Let one handler go on, now or when it comes to the gate."""
        word = f"exec 3<> {FILES}/gate; echo opened >&3; exec sleep infinity"  # or it would go with its first reader
        await self.machine.do(f"systemd-run --quiet --slice=gates sh -c '{word}'")

    async def close_gates(self) -> None:
        """Take back the words that nobody waited for."""
        await self.machine.do("systemctl stop gates.slice")

    async def shows(self, name: str) -> str:
        """Return a property of the agent's unit."""
        return (await self.machine.do(f"systemctl show --property={name} --value iot-jobs-agent")).strip()

    async def limit(self, setting: str, unit: str = "iot-job-network@") -> None:
        """Change a limit, of each handler's own unit unless told otherwise, as `systemctl edit` would."""
        drop_ins = f"/etc/systemd/system/{unit}.service.d"
        write = f"mkdir --parents {drop_ins}; printf '[Service]\\n{setting}\\n' > {drop_ins}/limit.conf"
        await self.machine.do(f"{write}; systemctl daemon-reload")

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
