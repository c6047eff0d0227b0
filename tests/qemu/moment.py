"""The moment from which every story starts: the device is up, the agent's package is installed. Made once, and kept."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import image
from cache import cached, hash_of
from debian import Debian, debian, host_architecture
from disk import make_disk, recipe
from qemu import SLOW, Machine, fastest, overlay, running
from tests.support.packages import build_package

READY = "ready"
EXAMPLE = "/usr/share/doc/iot-jobs-agent/examples/config.toml"


@dataclass(frozen=True)
class Kept:
    """What every device starts from: a disk that was never booted, and one with a moment of a running system."""

    system: Debian
    accelerator: tuple[str, ...]
    directory: Path

    @property
    def fresh(self) -> Path:
        return self.directory / "disk"

    @property
    def ready(self) -> Path:
        return self.directory / "ready.qcow2"

    @property
    def is_fast(self) -> bool:
        return self.accelerator != SLOW


def keep(architecture: str) -> Kept:
    """Return it, made now unless it was kept: in minutes. Needs root."""
    with ThreadPoolExecutor() as both:
        building = both.submit(_package, architecture)
        system = debian(architecture)
        accelerator = asyncio.run(fastest(system)) if architecture == host_architecture() else SLOW
        package = building.result()
    made_from = (package.read_bytes(), recipe(), image.recipe(), repr((accelerator, str(system))).encode())
    with cached("moment", hash_of(*made_from)) as (directory, is_new):
        made = Kept(system, accelerator, directory)
        if is_new:
            make_disk(system, made.fresh, image.install(package))
            asyncio.run(_make_ready(made))
    return made


def _package(architecture: str) -> Path:
    with cached("package", hash_of(architecture.encode(), image.sources())) as (directory, is_new):
        if is_new:
            build_package(directory, architecture)
    (package,) = directory.glob("*.deb")
    return package


async def _make_ready(kept: Kept) -> None:
    """Boot once, read once what the agent's start reads, and keep that moment."""
    overlay(kept.fresh, kept.ready)
    async with running(Machine(kept.system, kept.ready, kept.accelerator)) as machine:
        await machine.do("systemctl is-system-running --wait")
        await machine.run(f"iot-jobs-agent check --offline --config {EXAMPLE}")
        await machine.do("sync")
        await machine.save(READY)
