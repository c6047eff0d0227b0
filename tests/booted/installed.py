"""The device of these stories: what is on it, and what may be asked of it and of its service."""

import contextlib
import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from machine import PATH, Machine
from tests.support.files import ROOT
from tests.support.on_record import FILES, HANDLERS, HOME, LEDGER, NETWORK, THING, OnRecord, configuration

from iot_jobs_simulator.server import RunningSimulator

SOURCE = "/usr/src/iot-jobs-agent"
REPOSITORY = "/srv/repository"
COMMAND = "iot-jobs-agent {}"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BY_HAND = re.compile(r"^(scp|nano|journalctl .*--follow)")  # needs another machine or a person, or never ends
ENDPOINT = "a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com"

PRESIGNED = {"roleArn": "arn:aws:iam::123456789012:role/files", "expiresInSec": 600}
# What the container writes is on a tmpfs of this machine, and outlives the container's reboots.
VOLATILE = "reboots_without_state = true"
PRIVILEGED = f"""
[handler.install-packages]
profile = "packages"
[handler.remove-packages]
profile = "packages"
[handler.start-services]
profile = "services"
units = ["oven.service"]
settle_s = 0.1
[handler.stop-services]
profile = "services"
units = ["oven.service"]
[handler.restart-services]
profile = "services"
units = ["oven.service"]
settle_s = 0.1
[handler.write-file]
profile = "files"
roots = ["{FILES}/written"]
[handler.download-file]
profile = "files"
roots = ["{FILES}/written"]
ca_file = "{HOME}/ca.pem"
[handler.collect-logs]
profile = "logs"
units = ["oven.service"]
ca_file = "{HOME}/ca.pem"
"""
# The kernel stays the same over a container's boots. Its boot id is a file that systemd-nspawn mounts over the kernel's
# one, which the unit's own /proc lacks: it is mounted there too. All else of the unit is as shipped.
CONTAINER = "[Service]\nBindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id\n"
CONTAINER_FILES = "C /run/boot-id - - - - /proc/sys/kernel/random/boot_id\n"
OVEN = """
[Service]
ExecStart=/bin/sh -c 'echo warm; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""


def blocks_of(heading: str) -> list[str]:
    """Return the blocks of shell commands in a section of the installation page."""
    section = (ROOT / "docs/install.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = BLOCK.findall(section)
    assert blocks, heading
    return blocks


def by_itself(block: str) -> str:
    """Return what of a block can be done by a test."""
    return "\n".join(line for line in block.splitlines() if not BY_HAND.match(line))


def replaced(text: str, words: dict[str, str]) -> str:
    """Return a text of the page with what stands there as an example put right; each must be there."""
    for old, new in words.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass
class Device(OnRecord):
    """The booted device, and the service that it is a thing of."""

    machine: Machine
    sim: RunningSimulator
    arn: str
    gates: list[int] = field(default_factory=list)
    files_before: frozenset[str] = frozenset()
    said: dict[str, str] = field(default_factory=dict)  # what it said when it was set up

    async def type(self, block: str, *, directory: str = SOURCE) -> str:
        """Do what a block of shell commands says, but for what needs a person."""
        pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        return await self.machine.run(by_itself(block), directory=directory, environment={"PATH": PATH} | pip)

    def collect(self, job: str, unit: str) -> None:
        """Have the log of a unit sent to the service's objects, where `collected` reads it."""
        params = {"url": "${aws:iot:s3-presigned-url-upload}", "units": [unit]}
        self.create(job, {"operation": "collect-logs", "params": params}, presignedUrlConfig=PRESIGNED)

    def collected(self, job: str) -> str:
        uploaded = self.sim.objects.get("uploads", f"{job}/{THING}/1")
        assert uploaded is not None
        return gzip.decompress(uploaded).decode()

    async def is_up(self, job: str) -> None:
        """Wait until the job's handler says that it is there."""
        await self.sim.wait_until(lambda: self.says_it_is_up(job), within_s=30)

    async def is_over(self, job: str) -> str:
        """Wait for the end, and return its status once all is seen to be sound: O, T and P of docs/reliability.md."""
        await self.sim.wait_until(lambda: self.is_terminal(job), within_s=60)
        status = self.only_end(job)
        assert max(Counter(self.ledger).values(), default=0) <= 1, self.ledger
        assert self.alive(job) == []
        return status

    async def ends(self, job: str, status: str) -> None:
        """Wait for the end, which must be this one."""
        assert await self.is_over(job) == status, (job, self.details(job), await self.log())

    async def has_no_unit(self, profile: str) -> None:
        """Wait until nothing runs in a profile, and nothing is being ended there."""
        listed = f"systemctl list-units --plain --no-legend 'iot-job-{profile}@*'"
        await self.machine.run(f"while {listed} | grep --quiet .; do sleep 0.1; done")

    async def handlers(self) -> list[str]:
        """Return the units of handlers that are there, in words."""
        said = await self.machine.run("systemctl list-units --plain --no-legend --all 'iot-job-*@*.service' || true")
        return [line for line in said.splitlines() if "iot-job-forget" not in line]

    async def known(self) -> dict[str, str]:
        """Return the jobs that the agent has settled, with their status, once nothing is under way."""
        words = [COMMAND.format(each) for each in ("pause --wait --timeout 30", "jobs --json --limit 200", "resume")]
        said = await self.machine.run(f"{words[0]} > /dev/null; {words[1]}; {words[2]} > /dev/null")
        return {each["job_id"]: each["status"] for each in json.loads(said)}

    @staticmethod
    def alive(job: str) -> list[Path]:
        """Return the processes of the job's attempts: of the container, which are processes of this machine too."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if path.with_name("ns").joinpath("pid").readlink() == Path("/proc/self/ns/pid").readlink():
                    continue  # another test's, on this machine itself
                found += [path] if f"JOB_ID={job}".encode() in path.read_bytes().split(b"\0") else []
        return found

    @property
    def ledger(self) -> list[str]:
        return self.machine.path(f"{FILES}/ledger").read_text().splitlines()

    def open_gate(self) -> None:
        """Let one handler go on, now or when it comes to the gate."""
        self.gates.append(os.open(self.machine.path(f"{FILES}/gate"), os.O_RDWR))  # or its word would be lost
        os.write(self.gates[-1], b"opened\n")

    def close_gates(self) -> None:
        """Take back the words that nobody waited for."""
        while self.gates:
            os.close(self.gates.pop())

    async def configure(
        self, *, launcher: str = "units", enabled: Iterable[str] = (), tables: str = "", restart: bool = True
    ) -> None:
        """Write the configuration, and start the agent again; `enabled` and `tables` are of further handlers."""
        names = [*re.findall(r"^\[handler\.(.*)\]$", PRIVILEGED, re.MULTILINE), *enabled]
        handlers = {"launcher": launcher, "tables": PRIVILEGED + tables}
        text = configuration(self.sim, agent=VOLATILE, enabled=names, **handlers)
        self.machine.write(f"{HOME}/config.toml", text, 0o640)
        await self.machine.run(f"chgrp iot-jobs-agent {HOME}/config.toml")
        if restart:
            await self.machine.run("systemctl restart iot-jobs-agent")

    async def install(self) -> None:
        """Do what the page says to install the package and to set the device up, and note what was said."""
        address = {"https://packages.example.com": f"file://{REPOSITORY}"}
        (block,) = blocks_of("2. Install the package")
        self.said["install"] = await self.type(replaced(block, address))
        state = "systemctl is-enabled iot-jobs-agent || true; systemctl is-active iot-jobs-agent || true"
        self.said["state"] = await self.machine.run(state)
        ports = f"localhost --port {self.sim.mqtts_port} --https-port {self.sim.https_port}"
        setup = replaced(blocks_of("3. Set it up")[0], {ENDPOINT: ports}).partition("systemctl")[0]
        self.said["refused"] = await self.type(f"if {setup.strip()}; then exit 1; fi")
        volatile = f"printf '[agent]\\n{VOLATILE}\\n' >> {HOME}/config.toml"
        self.said["setup"] = await self.type(f"{volatile}\n{setup}systemctl status iot-jobs-agent")

    async def equip(self, *, has_units: bool = True) -> None:
        """Give a device that has the agent what these stories need beside it."""
        machine = self.machine
        for name, text in HANDLERS.items():
            machine.write(f"{HOME}/handlers/{name}", text, 0o755)
        machine.write(f"{HOME}/ca.pem", (self.sim.certificates / "ca.pem").read_text())
        if has_units:
            machine.write(f"{NETWORK}/ledger.conf", LEDGER)
        machine.write("/etc/systemd/system/oven.service", OVEN)
        machine.write("/etc/systemd/system/iot-jobs-agent.service.d/container.conf", CONTAINER)
        machine.write("/etc/tmpfiles.d/container.conf", CONTAINER_FILES)
        await self.type(blocks_of("3. Set it up")[2])
        await machine.run(f"""
            install -d -o iot-jobs-agent -g iot-jobs-agent {FILES}/written
            [ -p {FILES}/gate ] || mkfifo {FILES}/gate
            touch {FILES}/ledger
            chmod 666 {FILES}/ledger {FILES}/gate
            systemd-tmpfiles --create container.conf
            systemctl daemon-reload
            systemctl enable --now oven""")

    async def version(self) -> str:
        """Return the version that is installed."""
        return await self.machine.run("dpkg-query --show --showformat '${Version}' iot-jobs-agent")

    async def shows(self, name: str) -> str:
        """Return a property of the agent's unit."""
        return (await self.machine.run(f"systemctl show --property={name} --value iot-jobs-agent")).strip()

    async def files(self) -> frozenset[str]:
        """Return the files of the system that have our name; those of other programs are there too."""
        places = "/etc /opt /usr /var /run"
        found = await self.machine.run(f"find {places} -name '*iot-job*' -not -path '/usr/src/*'")
        return frozenset(found.splitlines())

    async def log(self) -> str:
        """Return what the agent logged last, for people."""
        return await self.machine.run("journalctl --unit iot-jobs-agent --no-pager --lines 30")
