"""Lays out the files of the package: an environment of Python's own kind, the unit and its companions, the pages.

Owns where each file goes. `/usr/lib/iot-jobs-agent` looks like a virtual environment of the system's Python, so
`sys.executable` leads back to it as in any other, and no other package is in sight.
"""

import configparser
import gzip
import os
import shutil
from pathlib import Path

from wheels import PYTHONS, unpack

HOME = "usr/lib/iot-jobs-agent"
SITE = f"{HOME}/lib/python3/site-packages"
LOCAL = "/usr/local/lib/iot-jobs-agent"  # for handlers' packages that people add
DOCS = "usr/share/doc/iot-jobs-agent"
SHARE = "usr/share/iot-jobs-agent"
UNIT_KINDS = {"service", "socket", "target", "path", "timer", "slice", "mount"}
PROGRAM = """#!/{home}/bin/python3 -I
import sys

from {module} import {function}

sys.exit({function}())
"""


def lay_out_environment(tree: Path, wheels: list[list[Path]], own: Path) -> None:
    """Unpack the wheels, the oldest Python's first, and our own without the simulator; make the programs."""
    site = tree / SITE
    for each in (wheel for of_python in wheels for wheel in of_python):
        unpack(each, site)
    unpack(own, site)
    shutil.rmtree(site / "iot_jobs_simulator")
    write(tree / HOME / "handler-packages", f"{LOCAL}\n")
    for python in PYTHONS:
        (tree / HOME / "lib" / f"python{python}").symlink_to("python3")
    write(tree / HOME / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (tree / HOME / "bin").mkdir()
    (tree / HOME / "bin/python3").symlink_to("../../../bin/python3")
    for name, entry in _keep_programs(next(site.glob("iot_jobs_agent-*.dist-info/entry_points.txt"))).items():
        module, _, function = entry.partition(":")
        write(tree / HOME / "bin" / name, PROGRAM.format(home=HOME, module=module, function=function), 0o755)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/iot-jobs-agent").symlink_to(f"../{HOME.removeprefix('usr/')}/bin/iot-jobs-agent")


def lay_out_system_files(tree: Path, source: Path) -> None:
    """Install every file of `systemd/` by its kind. Raises ValueError if there is one of an unknown kind."""
    for path in sorted(source.iterdir()):
        write(tree / _place_of(path.name), path.read_text(), path.stat().st_mode & 0o755 | 0o644)


def lay_out_pages(tree: Path, source: Path, changelog: str) -> None:
    """Install what people read, but for the man pages."""
    for path in sorted((source / "docs").glob("*.md")):
        write(tree / DOCS / path.name, path.read_text())
    write(tree / DOCS / "examples/config.toml", (source / "config.example.toml").read_text())
    write(tree / DOCS / "copyright", (source / "packaging/debian/copyright").read_text())
    write_compressed(tree / DOCS / "changelog.gz", changelog)
    write_compressed(tree / DOCS / "CHANGELOG.md.gz", (source / "CHANGELOG.md").read_text())


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def write_compressed(path: Path, text: str) -> None:
    """Write a file in gzip's form, the same for the same text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def settle(tree: Path, epoch: int) -> None:
    """Give every file the same time, and a mode that depends on nothing but whether it is a program."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.utime(tree, (epoch, epoch))


def _place_of(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if not stem:  # a program
        return f"{HOME}/{name}"
    if "USER" in stem:  # a pattern, of which people make units
        return f"{SHARE}/{name}"
    if kind in UNIT_KINDS:
        return f"usr/lib/systemd/system/{name}"
    if kind == "rules":
        return f"usr/share/polkit-1/rules.d/50-{name}"
    for directory in ("sysusers", "tmpfiles"):
        if name.endswith(f".{directory}.conf"):
            return f"usr/lib/{directory}.d/{stem.removesuffix(f'.{directory}')}.conf"
    raise ValueError(f"systemd/{name}: where does a file of this kind go? say so in packaging/deb/tree.py")


def _keep_programs(path: Path) -> dict[str, str]:
    """Leave in our metadata only the device's programs: what is for developers needs the simulator."""
    points = configparser.ConfigParser(delimiters=("=",))
    points.optionxform = str  # type: ignore[assignment,method-assign] # names as they are
    points.read(path)
    programs = {name: entry for name, entry in points["console_scripts"].items() if "simulator" not in entry}
    path.write_text("[console_scripts]\n" + "".join(f"{name} = {entry}\n" for name, entry in programs.items()))
    return programs
