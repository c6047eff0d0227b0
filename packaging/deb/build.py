"""Builds the Debian packages: `packaging/build-deb`. The last line that it prints is the path of the last package.

Two builds of a commit are the same, byte for byte: every time is the commit's, every version is pinned, and every list
is sorted. Nothing of the other machine type is ever run.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import manual
from bom import bill_of_materials
from tree import lay_out_environment, lay_out_pages, lay_out_system_files, settle, write, write_compressed
from wheels import MACHINES, PYTHONS, download_wheels

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "packaging" / "debian"
NAME = "iot-jobs-agent"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def main() -> int:
    """Build, and print the paths of what was built, one a line. Return 0, or 1 with the reason on stderr."""
    chosen = parser().parse_args()
    os.umask(0o022)
    epoch = int(git("log", "-1", "--format=%ct"))
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    if git("status", "--porcelain"):
        print("build-deb: the checkout has changes, so the packages are not those of its commit", file=sys.stderr)
    version = chosen.version or tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        for architecture in chosen.architecture or MACHINES:
            with tempfile.TemporaryDirectory() as scratch:
                package = chosen.output / f"{NAME}_{version}_{architecture}.deb"
                build(package, architecture, version, epoch, Path(scratch), level=1 if chosen.quick else 6)
    except ValueError as error:
        print(f"build-deb: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"build-deb: {error.cmd[0]} failed: {error.stderr.strip()}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="packaging/build-deb", description="Build the Debian packages.")
    made.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist/")
    made.add_argument(
        "--architecture",
        action="append",
        choices=sorted(MACHINES),
        help="build only this one; may be given again; default: all, amd64 first",
    )
    made.add_argument("--quick", action="store_true", help="compress less, which takes a fifth of the time: for tests")
    made.add_argument("--version", help="Debian's version of the package; default: the one in pyproject.toml")
    return made


def build(package: Path, architecture: str, version: str, epoch: int, scratch: Path, *, level: int) -> None:
    """Build one package, and put its bill of materials and the hashes beside it."""
    tree = scratch / "tree"
    wheels = download_wheels(ROOT, architecture, scratch / "wheels")
    lay_out_environment(tree, wheels, own_wheel(scratch))
    lay_out_system_files(tree, ROOT / "systemd")
    lay_out_pages(tree, ROOT, changelog(version, epoch))
    lay_out_manual(tree, version, epoch)
    write(tree / f"usr/share/python3/runtime.d/{NAME}.rtupdate", (DEBIAN / "rtupdate").read_text(), 0o755)
    write(tree / f"usr/share/lintian/overrides/{NAME}", (DEBIAN / "lintian-overrides").read_text())
    lay_out_control(tree, architecture, version)
    settle(tree, epoch)
    # One thread, because the number of threads changes what xz writes.
    options = ["--root-owner-group", "-Zxz", f"-z{level}", "--threads-max=1"]
    subprocess.run(["dpkg-deb", *options, "--build", tree, package], check=True, capture_output=True, text=True)
    bill = package.with_suffix(".cdx.json")
    write(bill, bill_of_materials(package, version, architecture, [each for some in wheels for each in some], epoch))
    for path in (write_hash(bill), bill, write_hash(package), package):
        print(path)


def lay_out_manual(tree: Path, version: str, epoch: int) -> None:
    """Install the man pages and the completion."""
    man = tree / "usr/share/man"
    write_compressed(man / f"man1/{NAME}.1.gz", manual.page_of_commands(version, epoch))
    page = manual.page_of_configuration(ROOT / "config.example.toml", version, epoch)
    write_compressed(man / f"man5/{NAME}.toml.5.gz", page)
    write(tree / f"usr/share/bash-completion/completions/{NAME}", manual.completion())


def own_wheel(scratch: Path) -> Path:
    """Build our own wheel."""
    uv = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(scratch / "own"), str(ROOT)]
    subprocess.run(uv, check=True, capture_output=True, text=True)
    return next((scratch / "own").glob("*.whl"))


def lay_out_control(tree: Path, architecture: str, version: str) -> None:
    """Write what dpkg wants to know: the control file, the scripts, the hashes of all files."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    newest_minor = int(PYTHONS[-1].partition(".")[2])
    facts = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "MAINTAINER": maintainer(),
        "SIZE": str(sum(-(-path.stat().st_size // 1024) for path in files) + sum(1 for _ in tree.rglob("*/"))),
        "OLDEST": PYTHONS[0],
        "TOO_NEW": f"3.{newest_minor + 1}",
        **{
            kind.upper(): " ".join(sorted(path.name for path in tree.glob(f"usr/lib/{kind}.d/*.conf")))
            for kind in ("sysusers", "tmpfiles")
        },
    }
    for name in ("control", *SCRIPTS):
        text = (DEBIAN / name).read_text()
        for key, value in facts.items():
            text = text.replace(f"@{key}@", value)
        write(tree / "DEBIAN" / name, text, 0o644 if name == "control" else 0o755)
    sums = {path: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in files}
    write(tree / "DEBIAN/md5sums", "".join(f"{sum_}  {path.relative_to(tree)}\n" for path, sum_ in sums.items()))


def changelog(version: str, epoch: int) -> str:
    """Return Debian's form of a changelog, which leads to ours."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch))
    return (
        f"{NAME} ({version}) stable; urgency=medium\n\n  * What changed is in CHANGELOG.md.gz beside this file.\n\n"
        f" -- {maintainer()}  {date}\n"
    )


def maintainer() -> str:
    """Return whom to write to: the address in the commit, as SECURITY.md says."""
    return f"{NAME} maintainers <{git('log', '-1', '--format=%ae')}>"


def write_hash(path: Path) -> Path:
    """Write the SHA-256 of a file beside it, as `sha256sum --check` reads it."""
    beside = path.with_name(f"{path.name}.sha256")
    write(beside, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return beside


def git(*arguments: str) -> str:
    """Return what git says about the checkout."""
    done = subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
