"""What an image of a fleet's devices has beside Debian: the package of this checkout, and what its owner added."""

from collections.abc import Callable
from pathlib import Path

from tests.support.files import ROOT, tracked
from tests.support.on_record import FILES, LEDGER, NETWORK
from tests.support.packages import run

# All that the package is made from, but for its pages, which no story reads.
SOURCES = {"agent", "handlers", "simulator", "systemd", "packaging", "pyproject.toml"}


def install(package: Path) -> Callable[[Path], None]:
    """Return what puts the package onto a device, as it is in an image of a fleet's devices."""

    def put(root: Path) -> None:
        run("cp", package, root / "tmp/agent.deb")
        own_proc = ("unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc")  # systemd-tmpfiles reads it
        run(*own_proc, "chroot", root, "dpkg", "--install", "/tmp/agent.deb")
        (root / "tmp/agent.deb").unlink()
        drop_ins, files = (root / path.removeprefix("/") for path in (NETWORK, FILES))
        drop_ins.mkdir()
        (drop_ins / "ledger.conf").write_text(LEDGER)
        files.mkdir(parents=True)
        (files / "ledger").touch()
        run("mkfifo", files / "gate")
        run("chmod", "666", files / "ledger", files / "gate")  # each handler is a user of its own

    return put


def recipe() -> bytes:
    """Return what decides about the image, beside the package."""
    return Path(__file__).read_bytes() + f"{NETWORK} {LEDGER} {FILES}".encode()


def sources() -> bytes:
    """Return all that the package is made from."""
    paths = [path for path in sorted(tracked()) if path.relative_to(ROOT).parts[0] in SOURCES]
    return b"".join(str(path.relative_to(ROOT)).encode() + path.read_bytes() for path in paths)
