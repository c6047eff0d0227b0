"""Whether what is written to a directory survives a reboot."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """One line of mountinfo (proc(5)): where, the kind of file system, and its own options."""

    point: Path
    kind: str
    options: str


def why_volatile(directory: Path, mounts: Path = MOUNTS) -> str:
    """Return why nothing in the directory, or the nearest one that exists, survives a reboot; "" if it does.

    That is so on tmpfs, and on an overlay whose upper layer is on tmpfs, as on a Raspberry Pi with a read-only root. An
    upper layer that cannot be seen from here was mounted before the root file system, so it counts as one of those.
    Never raises.
    """
    found = _mount_of(directory, mounts)
    if found is None:
        return ""
    if found.kind in IN_MEMORY:
        return f"{found.point} is a {found.kind}"
    if found.kind != "overlay":
        return ""
    upper = next((each.partition("=")[2] for each in found.options.split(",") if each.startswith("upperdir=")), "")
    if not upper:
        return ""  # read-only: nothing can be written there
    below = _mount_of(Path(upper), mounts) if os.path.exists(upper) else None  # noqa: PTH110 - never raises
    if below is None:
        return f"{found.point} is an overlay whose upper layer cannot be seen, as on a system with a read-only root"
    return f"{found.point} is an overlay whose upper layer is on a {below.kind}" if below.kind in IN_MEMORY else ""


def _mount_of(directory: Path, mounts: Path) -> Mount | None:
    """Return the mount that the directory, or the nearest one above it that exists, is on."""
    path = Path(os.path.realpath(directory))
    while not os.path.exists(path):  # noqa: PTH110 - never raises
        path = path.parent
    on_the_way = [mount for mount in _mounts(mounts) if path.is_relative_to(mount.point)]
    return max(on_the_way, key=lambda mount: len(mount.point.parts), default=None)  # the last of those at one point


def _mounts(mounts: Path) -> Iterator[Mount]:
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in reversed(lines):
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), after.split() or [""]
        if len(fields) > 4 and kind:  # noqa: PLR2004 - the mount point is the fifth
            point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            yield Mount(Path(point), kind, rest[-1] if rest else "")
