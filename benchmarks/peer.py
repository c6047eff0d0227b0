"""The simulator side by side with MiniStack, another simulator of AWS: `uv run benchmarks/peer.py`. Never a test.

Both run as processes and are driven by boto3 over HTTP: 400 jobs for one thing, each CreateJob timed. MiniStack comes
from PyPI into a temporary environment, which `uv` makes. The two take turns, fifty jobs at a time, so that what else
the machine does meanwhile falls on both.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

PEER = "ministack==1.5.33"
JOBS = 400
TURN = 50
DOCUMENT = '{"operation":"x"}'
SESSION: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
# The first call waits for the peer, which does not say when it is ready, as long as botocore tries again.
PATIENT = Config(retries={"max_attempts": 12, "mode": "standard"})


@contextmanager
def running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until the block ends."""
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
    ) as found:
        try:
            yield found
        finally:
            found.terminate()


def install_peer(directory: Path) -> Path:
    """Install MiniStack into an environment of its own; its program."""
    environment, uv = directory / "environment", shutil.which("uv") or "uv"
    # Elsewhere, because uv would hold the peer to the versions that this project allows.
    subprocess.run([uv, "venv", "-q", str(environment)], check=True, cwd=directory)
    arguments = ["-q", "--python", str(environment / "bin/python"), PEER]
    subprocess.run([uv, "pip", "install", *arguments], check=True, cwd=directory)
    return environment / "bin/ministack"


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cpu_ms(process: subprocess.Popen[str]) -> float:
    """The milliseconds of CPU that a program has used so far, to the tick of the kernel's clock."""
    times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


class Simulated:
    """One of the two, with what its jobs have cost: milliseconds for each, and of CPU for each turn."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self._url = process, url
        self._iot = boto3.client("iot", endpoint_url=url, config=PATIENT, **SESSION)
        self._arn = self._iot.create_thing(thingName="lamp")["thingArn"]
        self.durations_ms: list[float] = []
        self.cpu_ms: list[float] = []

    def create_jobs(self, first: int) -> None:
        """Create a turn's jobs."""
        before_ms = cpu_ms(self._process)
        for number in range(first, first + TURN):
            started = time.perf_counter()
            self._iot.create_job(jobId=f"job-{number:04}", targets=[self._arn], document=DOCUMENT)
            self.durations_ms.append(1000 * (time.perf_counter() - started))
        self.cpu_ms.append((cpu_ms(self._process) - before_ms) / TURN)

    def check(self) -> None:
        """The jobs are really there."""
        data = boto3.client("iot-jobs-data", endpoint_url=self._url, config=PATIENT, **SESSION)
        started = data.start_next_pending_job_execution(thingName="lamp")["execution"]["jobId"]
        assert started == "job-0000", started
        data.close()
        self._iot.close()


def main() -> None:
    """Print what CreateJob takes, on the whole, at the beginning and at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR", "TMPDIR": scratch}
        program = install_peer(Path(scratch))
        ours = [sys.executable, "-m", "iot_jobs_simulator"]
        with running(ours) as simulator, running([str(program)], settings) as peer:
            assert simulator.stdout is not None
            ready = json.loads(simulator.stdout.readline())
            both = {
                "this simulator": Simulated(simulator, ready["http_url"]),
                PEER: Simulated(peer, f"http://127.0.0.1:{port}"),
            }
            for first in range(0, JOBS, TURN):
                for each in both.values():
                    each.create_jobs(first)
            for each in both.values():
                each.check()
    columns = ("median", "first 50", "last 50", "CPU, first 50", "CPU, last 50")
    print(f"{'CreateJob, ms':18}" + "".join(f"{column:>15}" for column in columns))
    for name, each in both.items():
        durations_ms = each.durations_ms
        medians = [statistics.median(part) for part in (durations_ms, durations_ms[:TURN], durations_ms[-TURN:])]
        print(f"{name:18}" + "".join(f"{figure:15.1f}" for figure in (*medians, each.cpu_ms[0], each.cpu_ms[-1])))


if __name__ == "__main__":
    main()
