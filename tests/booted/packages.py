"""The package of this checkout, other versions of it, and a repository that a throwaway key signs."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine import ROOT

PACKAGING = ROOT / "packaging"
KEY = "packages@example.com"


def run(*command: str | Path) -> str:
    """Run a program of Debian's or ours, which must end well; what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_package(into: Path) -> Path:
    """Build the package for this machine; its last line is the path."""
    architecture = run("dpkg", "--print-architecture").strip()
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


class Repository:
    """A signed repository in a directory, and the key for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._home = Path(tempfile.mkdtemp(prefix="gnupg-"))  # not below pytest's: the paths of sockets are short
        gpg = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--passphrase", ""]
        run(*gpg, "--quick-generate-key", KEY, "ed25519", "sign", "never")

    def add(self, package: Path) -> str:
        """Add a package; return its version."""
        command = [PACKAGING / "build-repository", "--key", KEY, "--gnupg-home", self._home]
        run(*command, "--output", self.directory, package)
        return version_of(package)

    def close(self) -> None:
        """Forget the key."""
        run("gpgconf", "--homedir", self._home, "--kill", "all")
        shutil.rmtree(self._home)
