"""Makes a signed apt repository of plain files: `packaging/build-repository`. Any web server can serve it, or a disk.

Packages that are in it already stay, so that devices can go back to an older version. If something fails, such as the
key, the repository stays as it was.
"""

import argparse
import contextlib
import gzip
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAME = "iot-jobs-agent"
SUITE = "stable"
COMPONENT = "main"
POOL = f"pool/{COMPONENT}/i/{NAME}"
BESIDE = (".deb", ".deb.sha256", ".cdx.json", ".cdx.json.sha256")


def main() -> int:
    """Make or renew the repository, and print its directory. Return 0, or 1 with the reason on stderr."""
    chosen = parser().parse_args()
    try:
        with renewed(chosen.output) as fresh:
            for package in chosen.packages:
                add(package, fresh / POOL)
            index(fresh)
            sign(fresh, chosen.key, ["--homedir", str(chosen.gnupg_home.absolute())] if chosen.gnupg_home else [])
    except subprocess.CalledProcessError as error:
        print(f"build-repository: {error.cmd[0]} failed: {error.stderr.decode().strip()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"build-repository: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(chosen.output)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="packaging/build-repository", description="Make a signed apt repository.")
    made.add_argument("packages", nargs="+", type=Path, metavar="DEB", help="a package; its companions come along")
    made.add_argument("--key", required=True, metavar="ID", help="the fingerprint or address of the key to sign with")
    made.add_argument("--gnupg-home", type=Path, metavar="DIR", help="where the key is; default: GnuPG's own directory")
    made.add_argument(
        "--output", type=Path, default=Path("dist/repository"), metavar="DIR", help="default: %(default)s"
    )
    return made


@contextlib.contextmanager
def renewed(repository: Path) -> Iterator[Path]:
    """Give a copy of the repository, which takes its place if nothing fails; otherwise it stays as it was."""
    fresh, old = (repository.with_name(f"{repository.name}.{word}") for word in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        if repository.is_dir():
            shutil.copytree(repository, fresh)
        else:
            fresh.mkdir(parents=True)
        yield fresh
        if repository.is_dir():
            repository.rename(old)
        fresh.rename(repository)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def add(package: Path, pool: Path) -> None:
    """Copy a package and what lies beside it: its bill of materials, and the hashes."""
    pool.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package, pool / package.name)
    for suffix in BESIDE[1:]:
        if (beside := package.with_suffix(suffix)).exists():
            shutil.copyfile(beside, pool / beside.name)


def index(repository: Path) -> None:
    """Write the lists of packages, and the list of these lists."""
    suite = repository / "dists" / SUITE
    architectures = sorted({path.stem.rpartition("_")[2] for path in (repository / POOL).glob("*.deb")})
    for architecture in architectures:
        directory = suite / COMPONENT / f"binary-{architecture}"
        directory.mkdir(parents=True, exist_ok=True)
        listed = _run("apt-ftparchive", "--arch", architecture, "packages", "pool", directory=repository)
        (directory / "Packages").write_bytes(listed)
        (directory / "Packages.gz").write_bytes(gzip.compress(listed, mtime=0))
    for signed in ("Release", "InRelease", "Release.gpg"):
        (suite / signed).unlink(missing_ok=True)
    facts = {"Origin": NAME, "Suite": SUITE, "Codename": SUITE, "Components": COMPONENT}
    options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in facts.items()]
    options.append(f"-oAPT::FTPArchive::Release::Architectures={' '.join(architectures)}")
    (suite / "Release").write_bytes(_run("apt-ftparchive", *options, "release", f"dists/{SUITE}", directory=repository))


def sign(repository: Path, key: str, where: list[str]) -> None:
    """Sign the list, in both forms that apt knows, and put the public key beside it."""
    suite = repository / "dists" / SUITE
    gpg = ["gpg", "--batch", "--yes", "--quiet", *where]
    _run(*gpg, "--local-user", key, "--output", "Release.gpg", "--armor", "--detach-sign", "Release", directory=suite)
    _run(*gpg, "--local-user", key, "--output", "InRelease", "--clear-sign", "Release", directory=suite)
    public = _run(*gpg, "--armor", "--export", key, directory=suite)
    (repository / f"{NAME}.asc").write_bytes(public)


def _run(*command: str, directory: Path) -> bytes:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True).stdout


if __name__ == "__main__":
    sys.exit(main())
