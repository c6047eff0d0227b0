"""Other people's clients, installed into temporary folders by the ordinary package managers."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

INSTALL_WITHIN_S = 300
Install = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(INSTALL_WITHIN_S + 60))


def run(*argv: str | Path, directory: Path) -> None:
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False, timeout=INSTALL_WITHIN_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Install packages of one kind (`pypi`, `npm`, `debian`), each set once; the folder that they are in."""
    installed: dict[tuple[str, ...], Path] = {}

    def once(kind: str, *packages: str) -> Path:
        wanted = (kind, *packages)
        if wanted not in installed:
            folder = tmp_path_factory.mktemp(kind)
            INSTALLERS[kind](folder, packages)
            installed[wanted] = folder
        return installed[wanted]

    return once


def from_pypi(folder: Path, packages: tuple[str, ...]) -> None:
    run("uv", "venv", "--quiet", folder / "venv", directory=folder)
    run("uv", "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python", *packages, directory=folder)


def from_npm(folder: Path, packages: tuple[str, ...]) -> None:
    run("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *packages, directory=folder)


def from_debian(folder: Path, packages: tuple[str, ...]) -> None:
    """Unpacked only: nothing of the system changes."""
    run("apt-get", "download", *packages, directory=folder)
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "--extract", package, folder, directory=folder)


INSTALLERS: dict[str, Callable[[Path, tuple[str, ...]], None]] = {
    "pypi": from_pypi,
    "npm": from_npm,
    "debian": from_debian,
}
