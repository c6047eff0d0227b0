"""A device under test with its handlers, and what tells what really happened: a ledger, an ear, the service's record.

The ledger is written and fsynced by the handlers themselves, outside of the agent. The ear is a FIFO to which they say
who they are. `started` in the ledger is the start of an attempt: it may stand there once.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import AgentProcess, Device, StartAgent, agents_on, make_device
from proxy import Proxy, running_proxy

from iot_jobs_simulator.server import RunningSimulator

TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED"}
WAIT_S = 60  # the limit of L
_SO_TIMESTAMP = 29  # socket(7); the socket module has no name for it

# Every handler begins with these: a line for the ledger, on the disk before anything else is done.
_BEGIN = """#!/bin/sh
echo "$JOB_ID#$JOB_EXECUTION_NUMBER.$JOB_STEP.$JOB_ATTEMPT" >> {directory}/ledger
sync {directory}/ledger
"""
HANDLERS = {
    "note": """echo '{{"progress": 40, "message": "half way"}}' >&3
echo "note of $JOB_ID"
""",
    "quiet": "",
    "busy": """echo '{{"outcome": "retry", "reason": "busy"}}' > "$JOB_RESULT_FILE"
""",
    # Says its pid, then waits for the test.
    "gated": """echo '{{"progress": 1}}' >&3
echo "$JOB_ID begun $$" > {directory}/ear
read -r word < {directory}/gates/$JOB_ID
echo "$word"
""",
    # A family that does not want to go: deaf to SIGTERM, one of it in a session of its own.
    "stubborn": """trap '' TERM
setsid sh -c 'trap "" TERM; sleep 1000 & wait' &
echo "$JOB_ID begun $$ $!" > {directory}/ear
while :; do wait; sleep 1000; done
""",
    # Says which of all processes that were named so far it still finds.
    "look": """for pid in $(cat {directory}/pids 2>/dev/null); do
    kill -0 "$pid" 2>/dev/null && echo "$pid is alive" >> {directory}/overlap
done
exit 0
""",
}


@dataclass
class Rig:
    """One thing, its device and its agents, against a simulator in the test's loop."""

    sim: RunningSimulator
    device: Device
    thing: str
    arn: str
    start: StartAgent
    stack: contextlib.AsyncExitStack
    heard: list[str] = field(default_factory=list)
    _ear: int = -1
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _gates: list[int] = field(default_factory=list)
    _half: str = ""

    @property
    def directory(self) -> Path:
        return self.device.directory

    def use_plain(self, port: int = 0) -> None:
        """Let the agent speak MQTT without TLS, to the broker or to something in front of it."""
        port = port or self.sim.mqtt_port
        self.device.sections["aws"] |= {"tls": False, "port": port, "endpoint": "127.0.0.1"}
        self.device.sections["aws"] |= {"https_endpoint": "localhost"}

    async def use_proxy(self, **manners: Any) -> Proxy:
        """Put a proxy between agent and broker, without TLS: the bytes that it counts are those of MQTT."""
        proxy = await self.stack.enter_async_context(running_proxy(self.sim.mqtt_port, **manners))
        self.use_plain(proxy.port)
        return proxy

    def create(self, job: str, operation: str, *, target: str = "", **members: Any) -> None:
        """Create a job for this thing (or another target) that runs one of the handlers."""
        gate = self.directory / "gates" / job
        if operation == "gated" and not gate.exists():
            os.mkfifo(gate)
        document = json.dumps({"operation": operation})
        self.sim.operate("CreateJob", jobId=job, targets=[target or self.arn], document=document, **members)

    def open_gate(self, job: str) -> None:
        """Let the handler go on, now or when it comes to its gate. Never blocks."""
        self._gates.append(os.open(self.directory / "gates" / job, os.O_RDWR))
        os.write(self._gates[-1], b"opened\n")

    async def hears(self, start: str, *, times: int = 1) -> list[str]:
        """Return the words of what a handler said that begins so, once it was said so often."""

        def found() -> list[str]:
            return [line for line in self.heard if line.startswith(start)]

        async with asyncio.timeout(WAIT_S):
            while len(found()) < times:
                self._news.clear()
                await self._news.wait()
        return found()[times - 1].split()

    async def ends(self, job: str, status: str, *, within_s: float = 60, **facts: Any) -> None:
        """Wait for the status; then see that all is sound."""
        try:
            await self.sim.wait_until(lambda: self.status(job) in {status, *TERMINAL}, within_s=within_s)
        except TimeoutError:
            raise AssertionError((job, self.status(job), self.updates(job))) from None
        assert self.status(job) == status, (job, self.details(job))
        self.is_sound(job, **facts)

    def is_sound(self, job: str, *, starts: int = 1, number: int = 1, is_identical: bool = True) -> None:
        """See that no attempt was started twice (O), and that every outcome told was the same one, word for word (T).

        Unless `is_identical`, its status alone: to a service that went back on its word the details are not repeated.
        """
        lines = Counter(self.ledger)
        assert max(lines.values(), default=0) <= 1, lines
        assert sum(line.startswith(f"{job}#{number}.") for line in lines) == starts, (job, lines)
        told = {json.dumps(update, sort_keys=True) for update in self.outcomes(job)}
        statuses = {update["status"] for update in self.outcomes(job)}
        assert len(told if is_identical else statuses) <= 1, told

    @property
    def ledger(self) -> list[str]:
        path = self.directory / "ledger"
        return path.read_text().split() if path.exists() else []

    def status(self, job: str) -> str | None:
        return self.sim.status(self.thing, job)

    def details(self, job: str) -> dict[str, str]:
        return dict(self.sim.store.find_execution(self.thing, job).status_details or {})

    def updates(self, job: str) -> list[dict[str, Any]]:
        """What the agent published about the job, the oldest first, without the tokens."""
        topic = f"$aws/things/{self.thing}/jobs/{job}/update"
        found = [json.loads(payload) for name, payload in self.sim.received if name == topic]
        return [{key: value for key, value in update.items() if key != "clientToken"} for update in found]

    def outcomes(self, job: str) -> list[dict[str, Any]]:
        """The terminal statuses among them."""
        return [update for update in self.updates(job) if update.get("status") in TERMINAL]

    def _listen(self) -> None:
        heard = os.read(self._ear, 65536).decode()
        *lines, self._half = (self._half + heard).split("\n")
        self.heard += lines
        with (self.directory / "pids").open("a") as file:
            file.writelines(f"{' '.join(line.split()[2:])}\n" for line in lines)
        self._news.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ear)
        for descriptor in (self._ear, *self._gates):
            os.close(descriptor)

    def prepare(self) -> None:
        """Make handlers, ear and gates."""
        (self.directory / "gates").mkdir()
        os.mkfifo(self.directory / "ear")
        self._ear = os.open(self.directory / "ear", os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._ear, self._listen)
        for name, script in HANDLERS.items():
            begin = "#!/bin/sh\n" if name == "look" else _BEGIN
            self.device.add_handler(name, (begin + script).format(directory=self.directory))
        self.device.sections["handler.stubborn"] = {"grace_s": 0.3}


@contextlib.asynccontextmanager
async def new_rig(sim: RunningSimulator, directory: Path, thing: str = "pi-1", **aws: Any) -> AsyncIterator[Rig]:
    """Make a thing with a device of its own; `aws` are keys of [aws]. Nothing of it is alive afterwards."""
    directory.mkdir(exist_ok=True)
    arn = sim.operate("CreateThing", thingName=thing)["thingArn"]
    device = make_device(directory, sim, thing)
    device.sections["aws"] |= aws
    device.sections["agent"]["log_level"] = "debug"  # failed requests are facts to wait for
    async with contextlib.AsyncExitStack() as stack:
        rig = Rig(sim, device, thing, arn, await stack.enter_async_context(agents_on(device, wait_s=WAIT_S)), stack)
        rig.prepare()
        stack.callback(rig.close)
        yield rig


def alive(pids: Iterable[int | str]) -> list[int]:
    """Tell which of these processes do still something."""
    found = []
    for pid in map(int, pids):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [pid] if state not in "ZX" else []
    return found


class Watchdog:
    """systemd's end of the socket. Times are the kernel's, of when the agent sent: a slow test counts for nothing."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        self._fed: list[float] = []
        self.is_ready = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        message, ancillary, _, _ = self._socket.recvmsg(4096, 64)
        if message.startswith(b"READY=1"):
            self.is_ready.set()
        if message == b"WATCHDOG=1":
            seconds, microseconds = struct.unpack("ll", ancillary[0][2])
            self._fed.append(seconds + microseconds / 1e6)

    def was_fed(self, agent: AgentProcess) -> None:
        """See that the loop of this agent, which is alive, never stalled (W): it gives a sign of life every 0.1 s.

        A machine that had no processor for it is not a stall: how long its thread was ready and waited is allowed.
        """
        gaps = [later - earlier for earlier, later in zip(self._fed, self._fed[1:], strict=False)]
        waited_s = int(Path(f"/proc/{agent.process.pid}/schedstat").read_text().split()[1]) / 1e9
        assert gaps, "never fed"
        assert max(gaps) < 1 + waited_s, (max(gaps), waited_s)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


async def stopped(agent: AgentProcess) -> None:
    """End an agent as systemd does, and see that it went in order."""
    assert await agent.stop() == 0, agent.told
