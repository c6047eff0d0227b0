"""The guest's first file system: busybox, the kernel's modules that the disk needs, and `guest/init`.

Debian's own initramfs would search for what we know, which takes half a minute without KVM.
"""

import gzip
from pathlib import Path

INIT = Path(__file__).with_name("guest") / "init"
# In the order in which they are loaded. What a kernel has built in has no file.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "virtio_console", "virtio-rng", "overlay"),
)
DIRECTORIES = ("bin", "dev", "lower", "memory", "modules", "proc", "root", "sys")


def make_initrd(busybox: Path, modules: Path, target: Path) -> None:
    """Write the archive; `modules` is a directory with those that the kernel has not built in."""
    archive = bytearray()
    for name in DIRECTORIES:
        _add(archive, name, 0o40755)
    _add(archive, "bin/busybox", 0o100755, busybox.read_bytes())
    for number, module in enumerate(MODULES):
        if (path := modules / f"{module}.ko").exists():
            _add(archive, f"modules/{number:02}-{module}.ko", 0o100644, path.read_bytes())
    _add(archive, "init", 0o100755, INIT.read_bytes())
    _add(archive, "TRAILER!!!", 0)
    target.write_bytes(gzip.compress(archive, 1, mtime=0))


def _add(archive: bytearray, name: str, mode: int, content: bytes = b"") -> None:
    """Append one file as cpio's format `newc` has it (cpio(5)): thirteen numbers, the name, the content, all padded."""
    path = name.encode() + b"\0"
    numbers = [len(archive), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0]  # the inode only has to differ
    archive += b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    archive += bytes(-len(archive) % 4)
    archive += content + bytes(-len(content) % 4)
