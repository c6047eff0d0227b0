"""Debian packages that tests make, ours and tiny ones, and a repository that a throwaway key signs."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.files import ROOT

PACKAGING = ROOT / "packaging"
KEY = "packages@example.com"


def run(*command: str | Path) -> str:
    """Run a program of Debian's or ours, which must end well; what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def build_package(into: Path, architecture: str = "") -> Path:
    """Build the package of this checkout, for this machine unless told otherwise; the last line is its path."""
    architecture = architecture or run("dpkg", "--print-architecture").strip()
    command = [PACKAGING / "build-deb", "--quick", "--architecture", architecture, "--output", into]
    return Path(run(*command).splitlines()[-1])


def version_of(package: Path) -> str:
    return run("dpkg-deb", "--field", package, "Version").strip()


def with_version(package: Path, version: str, scratch: Path) -> Path:
    """Make the same package with another version. The scripts of both are run, and every file is replaced."""
    tree = scratch / f"tree-{version}"
    run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    made = scratch / package.name.replace(version_of(package), version)
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made)
    shutil.rmtree(tree)
    return made


def make_package(
    into: Path, name: str, version: str = "1.0", *, files: Mapping[str, str] | None = None, **fields: str
) -> Path:
    """Make a package with these fields and files; one below DEBIAN is a script of its maintainer's."""
    tree = into / f"{name}_{version}"
    more = "".join(f"{key}: {value}\n" for key, value in fields.items())
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.com>\n{more}"
        "Description: made by a test\n"
    )
    for path, text in {"DEBIAN/control": control, **(files or {})}.items():
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    made = into / f"{name}_{version}_all.deb"
    run("dpkg-deb", "--root-owner-group", "--build", tree, made)
    shutil.rmtree(tree)
    return made


class Repository:
    """A signed repository in a directory, and the key for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._home = Path(tempfile.mkdtemp(prefix="gnupg-"))  # not below pytest's: the paths of sockets are short
        gpg = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--passphrase", ""]
        run(*gpg, "--quick-generate-key", KEY, "ed25519", "sign", "never")

    def add(self, *packages: Path) -> str:
        """Add packages; return the version of the last one."""
        command = [PACKAGING / "build-repository", "--key", KEY, "--gnupg-home", self._home]
        run(*command, "--output", self.directory, *packages)
        return version_of(packages[-1])

    def close(self) -> None:
        """Forget the key."""
        run("gpgconf", "--homedir", self._home, "--kill", "all")
        shutil.rmtree(self._home)
