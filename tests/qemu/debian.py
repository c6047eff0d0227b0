"""The system that the guest boots: a kernel, an initrd and Debian's files, from this machine's own apt sources.

Made once, with mmdebstrap as root, and kept. What the tests need beside it is put into a disk by `disk.py`.
"""

import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cache import cached, hash_of
from initrd import INIT, MODULES, make_initrd
from tests.support.packages import run

# What the agent's package depends on, and what its unit talks to. No udev: nothing here waits for a device.
PACKAGES = ("systemd-sysv", "dbus", "polkitd", "python3", "ca-certificates")
WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# With its own mounts and processes: both are gone when it ends, however it ends.
OWN = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
FETCH = """
cd /tmp/kernel
kernel=$(apt-cache depends --important linux-image-cloud-{architecture} | sed -n "s/^ *Depends: //p" | head -n 1)
apt-get download -q "$kernel" busybox-static
"""


@dataclass(frozen=True)
class Debian:
    """A system that was not booted yet. `root` are its files; nobody writes to them."""

    directory: Path
    architecture: str
    initrd: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def kernel(self) -> Path:
        return self.directory / "kernel"


def host_architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return ARCHITECTURES[platform.machine()]


def debian(architecture: str) -> Debian:
    """Return the system, made now unless it was kept."""
    sources = _apt_sources()
    recipe = repr((PACKAGES, WITHOUT, MODULES, architecture, FETCH, [source.read_text() for source in sources]))
    with cached("debian", hash_of(recipe.encode())) as (directory, is_new):
        if is_new:
            _make(directory, architecture, sources)
    with cached("initrd", hash_of(recipe.encode(), INIT.read_bytes())) as (beside, is_new):
        if is_new:
            make_initrd(directory / "busybox", directory / "modules", beside / "initrd")
    return Debian(directory, architecture, beside / "initrd")


def _make(directory: Path, architecture: str, sources: list[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="iot-jobs-qemu-") as scratch:
        packages, unpacked = Path(scratch, "packages"), Path(scratch, "unpacked")
        packages.mkdir()
        fetch = FETCH.format(architecture=architecture)
        run(
            *OWN,
            *("mmdebstrap", "--quiet", "--variant=apt", "--format=directory", f"--architectures={architecture}"),
            *(f"--include={','.join(PACKAGES)}", "--dpkgopt=force-unsafe-io"),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT),
            '--customize-hook=mkdir "$1/tmp/kernel"',
            f"--customize-hook=chroot \"$1\" sh -ec '{fetch}'",
            f"--customize-hook=sync-out /tmp/kernel {packages}",
            '--customize-hook=rm -r "$1/tmp/kernel"',
            *(_codename(), directory / "root", *sources),
        )
        for package in packages.glob("*.deb"):
            run("dpkg-deb", "--extract", package, unpacked)
        (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
        shutil.copy(kernel, directory / "kernel")
        shutil.copy(unpacked / "bin/busybox", directory)
        (directory / "modules").mkdir()
        for module in MODULES:
            for path in (unpacked / "lib/modules").rglob(f"{module}.ko"):
                shutil.copy(path, directory / "modules")


def _codename() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def _apt_sources() -> list[Path]:
    """Return this machine's sources of its own release."""
    apt = Path("/etc/apt")
    found = [apt / "sources.list", *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")]
    return [path for path in sorted(found) if path.exists() and f" {_codename()}" in path.read_text()]
