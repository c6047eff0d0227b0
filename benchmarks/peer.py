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


def create_jobs(iot: Any, arn: str, first: int) -> list[float]:
    """Create a turn's jobs; how long each took, in milliseconds."""
    durations_ms = []
    for number in range(first, first + TURN):
        started = time.perf_counter()
        iot.create_job(jobId=f"job-{number:04}", targets=[arn], document=DOCUMENT)
        durations_ms.append(1000 * (time.perf_counter() - started))
    return durations_ms


def measure(endpoints: dict[str, str]) -> dict[str, list[float]]:
    """The durations of all jobs, by name."""
    clients = {
        name: boto3.client("iot", endpoint_url=url, config=PATIENT, **SESSION) for name, url in endpoints.items()
    }
    arns = {name: iot.create_thing(thingName="lamp")["thingArn"] for name, iot in clients.items()}
    durations: dict[str, list[float]] = {name: [] for name in clients}
    for first in range(0, JOBS, TURN):
        for name, iot in clients.items():
            durations[name] += create_jobs(iot, arns[name], first)
    for name, iot in clients.items():
        data = boto3.client("iot-jobs-data", endpoint_url=endpoints[name], config=PATIENT, **SESSION)
        assert data.start_next_pending_job_execution(thingName="lamp")["execution"]["jobId"] == "job-0000", name
        data.close()
        iot.close()
    return durations


def main() -> None:
    """Print what CreateJob takes, on the whole, at the beginning and at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR", "TMPDIR": scratch}
        program = install_peer(Path(scratch))
        ours = [sys.executable, "-m", "iot_jobs_simulator"]
        with running(ours) as simulator, running([str(program)], settings):
            assert simulator.stdout is not None
            ready = json.loads(simulator.stdout.readline())
            found = measure({"this simulator": ready["http_url"], PEER: f"http://127.0.0.1:{port}"})
    print(f"CreateJob, ms: {'median of all':>20} {'of the first 50':>16} {'of the last 50':>16} {'sum, s':>8}")
    for name, each in found.items():
        medians = (statistics.median(part) for part in (each, each[:TURN], each[-TURN:]))
        columns = "".join(f"{figure:17.1f}" for figure in medians)
        print(f"{name:18}{columns}{sum(each) / 1000:9.1f}")


if __name__ == "__main__":
    main()
