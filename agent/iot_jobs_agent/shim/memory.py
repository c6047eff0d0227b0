"""Reads what the kernel's out-of-memory killer did in the attempt's own cgroup (v2), if it has one."""

from __future__ import annotations

import os

CGROUPS = "/sys/fs/cgroup"


def events_file() -> str:
    """Return the path of `memory.events` for this process's cgroup, or "" if there is no cgroup v2."""
    try:
        with open("/proc/self/cgroup", "rb") as file:
            paths = [line[3:].strip() for line in file if line.startswith(b"0::")]
    except OSError:
        return ""
    return f"{CGROUPS}/{os.fsdecode(paths[0])}/memory.events" if paths else ""


def oom_kills(events: str) -> int:
    """Return how many processes it killed in that cgroup and below, or 0 if unknown (Linux, cgroup-v2.rst)."""
    try:
        with open(events) as file:
            return int(dict(line.split() for line in file)["oom_kill"])
    except (OSError, ValueError, KeyError):
        return 0
