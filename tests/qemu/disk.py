"""The guest's disk: Debian's files, the tests' way in, and whatever a device is to have from the beginning."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from debian import Debian
from tests.support.packages import run

GUEST = Path(__file__).with_name("guest")
SIZE = "1G"  # sparse
HOST_NAME = "simulator.test"  # what the guest calls this machine
HOSTS = f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 device\n10.0.2.2 {HOST_NAME}\n"
# Only takes time in a machine that lives for minutes, or wants a terminal.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer"),
    *("getty.target", "serial-getty@.service", "systemd-pstore.service", "systemd-update-utmp.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "dev-hugepages.mount"),
    *("modprobe@.service", "proc-sys-fs-binfmt_misc.automount"),
)


def recipe() -> bytes:
    """Return what decides about the disk, beside Debian and what is installed."""
    return b"".join([Path(__file__).read_bytes(), *(path.read_bytes() for path in sorted(GUEST.iterdir()))])


def make_disk(system: Debian, target: Path, install: Callable[[Path], None]) -> None:
    """Write the disk; `install` puts its files below the directory that it is given, the device's root."""
    with tempfile.TemporaryDirectory(prefix="iot-jobs-qemu-") as scratch, _overlay(system.root, Path(scratch)) as root:
        (root / "etc/hosts").write_text(HOSTS)
        (root / "etc/hostname").write_text("device\n")
        (root / "etc/resolv.conf").write_text("")
        (root / "etc/machine-id").write_text("")
        shutil.copy(GUEST / "shell.py", root / "usr/local/lib/test-shell.py")
        shutil.copy(GUEST / "shell.service", root / "etc/systemd/system/test-shell.service")
        run("systemctl", f"--root={root}", "enable", "--quiet", "test-shell.service")
        run("systemctl", f"--root={root}", "mask", "--quiet", *MASKED)
        install(root)
        run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", root, target, SIZE)


@contextlib.contextmanager
def _overlay(lower: Path, scratch: Path) -> Iterator[Path]:
    """Give the files of `lower`, which stay as they are whatever is done to what is given."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", scratch)
    try:
        upper, work, root = (scratch / name for name in ("upper", "work", "root"))
        for each in (upper, work, root):
            each.mkdir()
        run("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", root)
        try:
            yield root
        finally:
            run("umount", root)
    finally:
        run("umount", scratch)
