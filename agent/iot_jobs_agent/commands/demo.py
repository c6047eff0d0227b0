"""`iot-jobs-agent demo`: real jobs, a real agent and a real broker, all on this machine.

Starts the simulator and an agent as separate processes, creates jobs with boto3 as an operator would, and prints what
happens according to the service's record and the agent's log.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from iot_jobs_agent.commands import options
from iot_jobs_agent.errors import AgentError

THING = "demo-thing"
WITHIN_S = 30.0
POLL_S = 0.05

GREET = """\
#!/bin/sh
# A handler in shell: params on stdin, progress on fd 3, exit 0 is success (docs/handlers.md).
read -r params
echo "greeting with $params"
for done in 25 50 75 100; do
    printf '{"progress": %s, "message": "greeted %s of 100 neighbours"}\\n' "$done" "$done" >&3
    sleep 0.2
done
"""

CONFIG = """\
[aws]
endpoint = "localhost"
port = {mqtts_port}
https_port = {https_port}
thing_name = "{thing}"
certificate = "{certificates}/client.pem"
private_key = "{certificates}/client.key"
root_ca = "{certificates}/ca.pem"

[[namespaces]]
id = "team-a"

[agent]
state_directory = "{scratch}/state"
max_concurrent = 2
progress_interval_s = 0.1
log_format = "json"

[handlers]
enabled = ["greet", "run-command", "write-file"]
directories = ["{scratch}/handlers"]

[handler.run-command]
programs = ["/bin/echo"]

[handler.write-file]
roots = ["{scratch}/files"]
"""


class DemoError(AgentError):
    """The demonstration cannot go on. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class DemoJob:
    """A job to create, and what it demonstrates."""

    job_id: str
    shows: str
    document: dict[str, Any]
    namespace: str = ""


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration. Return 0 if every execution ended SUCCEEDED in the service's record, 1 otherwise."""
    chosen = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leave nothing running behind
    with tempfile.TemporaryDirectory(prefix="iot-jobs-demo-") as scratch:
        return _demonstrate(Path(scratch), keep=chosen.keep)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("demo")
    made.add_argument("--keep", action="store_true", help="leave simulator and agent running, and say what to try next")
    return made


def _demonstrate(scratch: Path, *, keep: bool) -> int:
    started = time.monotonic()
    with _process(
        [sys.executable, "-m", "iot_jobs_simulator", "--certificates", str(scratch / "certificates")]
    ) as simulator:
        ports = _ready_line(simulator)
        say("simulator", f"AWS IoT Jobs on {ports['http_url']}, MQTT with mutual TLS on port {ports['mqtts_port']}")
        iot = _client(ports["http_url"])
        thing_arn = iot.create_thing(thingName=THING)["thingArn"]
        config = _write_config(scratch, ports)
        command = [sys.executable, "-m", "iot_jobs_agent", "run", "--config", str(config)]
        with _process(command, stderr=subprocess.PIPE) as agent:
            threading.Thread(target=_tell_agent, args=(agent.stderr,), daemon=True).start()
            jobs = _jobs(scratch)
            for job in jobs:
                say(job.job_id, f"created: {job.shows}")
                named = {"namespaceId": job.namespace} if job.namespace else {}
                iot.create_job(jobId=job.job_id, targets=[thing_arn], document=json.dumps(job.document), **named)
            ended = _watch(iot, agent, jobs)
            succeeded = sum(status == "SUCCEEDED" for status in ended.values())
            say("result", f"{succeeded} of {len(jobs)} executions SUCCEEDED, {time.monotonic() - started:.1f} s in all")
            if keep:
                _keep(ports, config, thing_arn)
            return 0 if succeeded == len(jobs) else 1


def _jobs(scratch: Path) -> list[DemoJob]:
    return [
        DemoJob(
            "greet-neighbours",
            "a handler written in shell, default namespace",
            {"operation": "greet", "params": {"word": "hello"}},
        ),
        DemoJob(
            "note-for-team-a",
            "the built-in write-file, namespace team-a",
            {"operation": "write-file", "params": {"path": str(scratch / "files" / "note"), "content": "hello\n"}},
            namespace="team-a",
        ),
        DemoJob(
            "run-command",
            "AWS-Run-Command, as the AWS console produces it",
            _run_command_document("echo,Hello from the cloud"),
        ),
    ]


def _run_command_document(command: str) -> dict[str, Any]:
    """Return the document that AWS-Run-Command produces (AWS IoT developer guide, page job-templates-managed)."""
    action = {"name": "Run-Command", "type": "runCommand", "input": {"command": command}, "runAsUser": ""}
    return {"version": "1.0", "steps": [{"action": action}]}


def _write_config(scratch: Path, ports: dict[str, Any]) -> Path:
    handlers = scratch / "handlers"
    for directory in (handlers, scratch / "files"):
        directory.mkdir(mode=0o700)
    greet = handlers / "greet"
    greet.write_text(GREET)
    greet.chmod(0o700)
    config = scratch / "config.toml"
    config.write_text(CONFIG.format(scratch=scratch, thing=THING, **ports))
    return config


def _watch(iot: Any, agent: "subprocess.Popen[str]", jobs: list[DemoJob]) -> dict[str, str]:
    """Print every change in the service's record until all executions are terminal; return their statuses."""
    shown: dict[str, tuple[str, str]] = {job.job_id: ("", "") for job in jobs}
    deadline = time.monotonic() + WITHIN_S
    clock = threading.Event()
    while any(status in {"", "QUEUED", "IN_PROGRESS"} for status, _ in shown.values()):
        if agent.poll() is not None:
            raise DemoError(f"the agent ended by itself, exit status {agent.returncode}")
        if time.monotonic() > deadline:
            say("result", f"gave up after {WITHIN_S:g} s")
            break
        for job_id in shown:
            _tell_change(iot, job_id, shown)
        clock.wait(POLL_S)
    return {job_id: status for job_id, (status, _) in shown.items()}


def _tell_change(iot: Any, job_id: str, shown: dict[str, tuple[str, str]]) -> None:
    try:
        execution = iot.describe_job_execution(jobId=job_id, thingName=THING)["execution"]
    except iot.exceptions.ResourceNotFoundException:
        return  # the service has not rolled it out yet
    details = execution.get("statusDetails", {}).get("detailsMap", {})
    now = (execution["status"], details.get("progress", ""))
    if now != shown[job_id]:
        shown[job_id] = now
        said = next((details[key] for key in ("reason", "result", "progress") if details.get(key)), "")
        output = f"; it said: {details['stdout']}" if details.get("stdout") else ""
        say(job_id, f"{now[0]}{'  ' + said if said else ''}{output}")


def _tell_agent(lines: IO[str]) -> None:
    """Print the agent's log in a form that is easy to read."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            say("agent", line.rstrip())
            continue
        facts = [event.get(key) for key in ("execution", "why", "status", "endpoint") if event.get(key)]
        say("agent", f"{event.get('event', '')}{': ' if facts else ''}{', '.join(map(str, facts))}")


def _keep(ports: dict[str, Any], config: Path, thing_arn: str) -> None:
    document = json.dumps({"operation": "greet", "params": {"word": "again"}})
    environment = f"AWS_ENDPOINT_URL={ports['http_url']} AWS_DEFAULT_REGION={thing_arn.split(':')[3]}"
    print(
        f"""
Everything is running; Ctrl-C ends it and removes its files. Try, in another terminal (in a checkout, put `uv run` in
front of any of these):

  export {environment} AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
  aws iot create-job --job-id again --targets {thing_arn} --document '{document}'
  aws iot describe-job-execution --job-id again --thing-name {THING}
  aws iot list-jobs
  aws iot-jobs-data get-pending-job-executions --thing-name {THING}

  iot-jobs-agent status --config {config}
  iot-jobs-agent jobs --config {config}
  iot-jobs-agent pending --namespace team-a --config {config}

To write a handler of your own: put it into {config.parent / "handlers"}, add its name to
{config}, and restart the agent (the pid is in `status`):
  kill PID && sleep 1 && iot-jobs-agent run --config {config}""",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _client(url: str) -> Any:
    """Return boto3's own `iot` client, as an operator uses it, except for the address."""
    try:
        import boto3  # noqa: PLC0415 - not installed on a device
    except ImportError:
        raise DemoError("the demo needs the simulator: pip install 'iot-jobs-agent[simulator]'") from None
    return boto3.client(
        "iot",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - the simulator does not check it
    )


def _ready_line(simulator: "subprocess.Popen[str]") -> dict[str, Any]:
    assert simulator.stdout is not None  # noqa: S101 - it is a pipe
    line = simulator.stdout.readline()
    if not line:
        raise DemoError("the simulator did not start: pip install 'iot-jobs-agent[simulator]'")
    ready: dict[str, Any] = json.loads(line)
    return ready


class _process:  # noqa: N801 - reads as a function: `with _process(...) as running`
    """A process that ends with the `with` block."""

    def __init__(self, command: list[str], *, stderr: int | None = None) -> None:
        self._command = command
        self._stderr = stderr

    def __enter__(self) -> "subprocess.Popen[str]":
        self._running = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=self._stderr, text=True)
        return self._running

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        try:
            self._running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


def say(who: str, what: str) -> None:
    """Print one line of what happens; thread-safe."""
    sys.stdout.write(f"{who:<17} {what}\n")  # in one call, since print() lets another thread in before the line end
    sys.stdout.flush()
