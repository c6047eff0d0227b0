"""Gets the wheels of the pinned dependencies, for Pythons and machine types that this machine need not have.

Owns which Pythons and machine types the package is for. pip accepts only files with the hashes that the index told uv
at the time of the resolution, and nothing is ever built or run.
"""

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

PYTHONS = ("3.11", "3.12", "3.13")  # Debian 12, Ubuntu 24.04, Debian 13
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Debian calls them, and as Python does
GLIBC_MINORS = range(17, 29)  # of glibc 2: wheels for the older ones work with all newer ones; control names the last


class Pin(NamedTuple):
    """One distribution that a device needs, in its exact version, and the options for pip with the hashes."""

    requirement: Requirement
    hashes: str

    def is_needed(self, python: str, machine: str) -> bool:
        """Tell whether it is needed with this Python, on this machine type."""
        environment = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
        return self.requirement.marker is None or self.requirement.marker.evaluate(environment)

    @property
    def line(self) -> str:
        """The line for pip, which would judge a marker by the machine that it runs on."""
        return f"{self.requirement.name}{self.requirement.specifier} {self.hashes}\n"


def export_pins(root: Path) -> list[Pin]:
    """Return what a device needs besides our own code."""
    command = ["uv", "export", "--quiet", "--project", str(root), "--no-dev", "--no-emit-project", "--no-annotate"]
    text = subprocess.run([*command, "--no-header"], check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.replace("\\\n", "").splitlines() if line]
    return [Pin(Requirement(line.partition("--hash")[0]), " ".join(re.findall(r"--hash=\S+", line))) for line in lines]


def download_wheels(root: Path, architecture: str, scratch: Path) -> list[list[Path]]:
    """Return the wheels of each Python, the oldest one's first; of those that serve newer ones too only one.

    Raises CalledProcessError.
    """
    machine = MACHINES[architecture]
    pins = export_pins(root)
    found: list[list[Path]] = []
    served: set[str] = set()
    for python in PYTHONS:
        wanted = [pin for pin in pins if pin.is_needed(python, machine) and pin.requirement.name not in served]
        wheels = _download(wanted, python, machine, scratch / python) if wanted else []
        served |= {parse_wheel_filename(each.name)[0] for each in wheels if _serves_newer(each)}
        found.append(wheels)
    return found


def unpack(wheel: Path, site: Path) -> None:
    """Unpack a wheel below the others. A module that is there already must be the same; of metadata, the first is kept.

    Raises ValueError: the wheel has what this cannot place, or differs from another one in what they share.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith("/") or re.search(r"\.dist-info/(RECORD|WHEEL)$", name):
                continue
            if ".data/" in name:
                raise ValueError(f"{wheel.name} has {name}, which goes outside of site-packages")
            path, data = site / name, archive.read(name)
            if path.exists():
                if path.read_bytes() != data and ".dist-info/" not in name:
                    raise ValueError(f"{wheel.name} has another {name} than the wheel of an older Python")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def metadata_of(wheel: Path) -> dict[str, list[str]]:
    """Return the fields of a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode())
    return {key: message.get_all(key, []) for key in message}


def _serves_newer(wheel: Path) -> bool:
    return any(tag.abi in {"none", "abi3"} for tag in parse_wheel_filename(wheel.name)[3])


def _download(pins: list[Pin], python: str, machine: str, into: Path) -> list[Path]:
    into.mkdir(parents=True)
    (into / "pins.txt").write_text("".join(pin.line for pin in pins))
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in reversed(GLIBC_MINORS)]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", f"--dest={into}"]
    which = ["--require-hashes", "--no-deps", "--only-binary=:all:", f"--python-version={python}"]
    done = subprocess.run(
        [*pip, *which, *platforms, f"--platform=manylinux2014_{machine}", f"--requirement={into / 'pins.txt'}"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PIP_NO_INPUT": "1"},
    )
    if done.returncode != 0:
        raise ValueError(f"the wheels for Python {python} on {machine} cannot be had:\n{done.stdout}{done.stderr}")
    return sorted(into.glob("*.whl"))
