"""What stories of tests/booted and tests/qemu share: a thing, its configuration, its handlers, its record."""

import json
from collections.abc import Iterable
from typing import Any

from iot_jobs_simulator.server import RunningSimulator

THING = "pi-kitchen-1"
FILES = "/srv/iot-jobs"
TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED"}
CREDENTIALS = {"client.pem": "certificate.pem", "client.key": "private.key", "ca.pem": "root-ca.pem"}
HOME = "/etc/iot-jobs-agent"
# The owner lets the handlers of this profile write to the ledger.
NETWORK = "/etc/systemd/system/iot-job-network@.service.d"
LEDGER = f"[Service]\nReadWritePaths={FILES}\n"
# Notes that it was started; waits at the gate the first time, and is done at once when it was cut short before.
PATIENT = f"""#!/bin/sh
echo "$JOB_ID $JOB_ATTEMPT $JOB_PHASE $JOB_REASON" >> {FILES}/ledger
sync {FILES}/ledger
echo '{{"progress": 1, "message": "up"}}' >&3
[ "$JOB_REASON" = first ] || exit 0
read -r word < {FILES}/gate
echo "$word"
"""
# Fills the disk, not as fast as it could, until it is stopped: its quota is measured every few seconds.
FILLER = """#!/bin/sh
echo '{"progress": 1, "message": "up"}' >&3
while :; do head -c 32768 /dev/zero >> "$JOB_DIR/full"; done
"""
HANDLERS = {"patient": PATIENT, "again": PATIENT, "onward": PATIENT, "filler": FILLER}
CONFIG = """
[aws]
endpoint = "{host}"
port = {sim.mqtts_port}
https_port = {sim.https_port}
thing_name = "{thing}"
certificate = "${{CREDENTIALS_DIRECTORY}}/certificate.pem"
private_key = "${{CREDENTIALS_DIRECTORY}}/private.key"
root_ca = "${{CREDENTIALS_DIRECTORY}}/root-ca.pem"
[agent]
max_concurrent = 3
{agent}
[handlers]
enabled = {enabled}
directories = ["{home}/handlers"]
launcher = "{launcher}"
[handler.run-command]
programs = ["/bin/echo", "/usr/bin/id"]
[handler.reboot]
may_reboot = true
[handler.again]
on_interrupt = "rerun"
[handler.onward]
on_interrupt = "resume"
[handler.filler]
quota_mb = 8
{tables}
"""


def configuration(
    sim: RunningSimulator,
    *,
    host: str = "localhost",
    agent: str = "",
    enabled: Iterable[str] = (),
    launcher: str = "units",
    tables: str = "",
) -> str:
    """Write a device's configuration; `enabled` are handlers beside those of all stories."""
    names = json.dumps(["run-command", "reboot", *HANDLERS, *enabled])
    values = {"enabled": names, "launcher": launcher, "agent": agent, "tables": tables}
    return CONFIG.format(sim=sim, host=host, thing=THING, home=HOME, **values)


class OnRecord:
    """The part of a device that is at the service. A device has `sim` and `arn`, those of its thing."""

    sim: RunningSimulator
    arn: str

    def create(self, job: str, document: Any, **members: Any) -> None:
        self.sim.operate("CreateJob", jobId=job, targets=[self.arn], document=json.dumps(document), **members)

    def status(self, job: str) -> str | None:
        return self.sim.status(THING, job)

    def details(self, job: str) -> dict[str, str]:
        if self.status(job) is None:
            return {}
        return dict(self.sim.store.find_execution(THING, job).status_details or {})

    def says_it_is_up(self, job: str) -> bool:
        return "up" in self.details(job).get("progress", "")

    def is_terminal(self, job: str) -> bool:
        return self.status(job) in TERMINAL

    def only_end(self, job: str) -> str:
        """Return the one end that the device told, which must be what the service has."""
        topic = f"$aws/things/{THING}/jobs/{job}/update"
        told = [json.loads(payload)["status"] for heard, payload in self.sim.received if heard == topic]
        (status,) = {each for each in told if each in TERMINAL}
        assert self.status(job) == status
        return status


def aws_document(*steps: tuple[str, str, dict[str, object]]) -> dict[str, object]:
    """Make a document as AWS's console does; a step is its name, its type and its input."""
    return {"version": "1.0", "steps": [{"action": {"name": n, "type": t, "input": i}} for n, t, i in steps]}


def echo(words: str) -> dict[str, object]:
    """Make a document that prints something."""
    return {"operation": "run-command", "params": {"command": f"/bin/echo {words}"}}
