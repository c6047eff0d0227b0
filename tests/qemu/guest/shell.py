"""Runs in the guest as root: takes shell scripts from the port `shell`, one a line, and answers what became of each.

A line is JSON. `{"id", "script", "input"}` is answered by `{"id", "status", "stdout", "stderr"}`, the last two and the
input in base64. At its start it says `{"boot": BOOT_ID}`, which tells the other side that the machine is up.
"""

import base64
import json
import subprocess
from pathlib import Path

PORTS = Path("/sys/class/virtio-ports")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def perform(request: dict[str, str]) -> dict[str, object]:
    """Run one script to its end; whatever it leaves in the background must not hold its output open."""
    ended = subprocess.run(
        ["/bin/sh", "-ec", request["script"]],
        input=base64.b64decode(request["input"]),
        capture_output=True,
        check=False,
        env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"},
        cwd="/root",
    )
    said = {"stdout": ended.stdout, "stderr": ended.stderr}
    return {"id": request["id"], "status": ended.returncode} | {
        k: base64.b64encode(v).decode() for k, v in said.items()
    }


def main() -> None:
    """Answer until the machine goes down."""
    (name,) = (path.parent.name for path in PORTS.glob("*/name") if path.read_text().strip() == "shell")
    with Path("/dev", name).open("r+b", buffering=0) as port:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        port.write(json.dumps({"boot": boot_id}).encode() + b"\n")
        waiting = b""
        while received := port.read(65536):
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                answer = memoryview(json.dumps(perform(json.loads(line))).encode() + b"\n")
                while answer:  # the port takes a part at a time
                    answer = answer[port.write(answer) :]


if __name__ == "__main__":
    main()
