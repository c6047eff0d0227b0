"""The three PEM files for the connection to AWS IoT: do they exist, and are they readable, PEM, and private?

Owns the rules about these files. It reads them, but never keeps, shows or parses their contents.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

_LARGEST_BYTES = 1024 * 1024
_OTHERS = 0o007
_GROUP = 0o070


def credentials_beside(config: Path) -> Path:
    """Return where the files of `LoadCredential=` are: beside the configuration, where only root can look."""
    return config.parent / "credentials"


def with_credentials_directory(environ: Mapping[str, str], config: Path) -> Mapping[str, str]:
    """Return the environment with $CREDENTIALS_DIRECTORY, which systemd sets for the service only.

    A person's command finds the originals, if there are any. Blocking: looks at the disk.
    """
    directory = credentials_beside(config)
    if environ.get("CREDENTIALS_DIRECTORY") or not os.path.isdir(directory):  # noqa: PTH112 - where nobody may look, too
        return environ
    return {**environ, "CREDENTIALS_DIRECTORY": str(directory.absolute())}


def file_problem(key: str, path: Path, *, private: bool, credentials_directory: Path | None) -> str:
    """Return one sentence that names the config key and the fix, or "". Blocks: reads the file.

    A private key must have no permission bits for others. It must have none for its group either, except below
    `credentials_directory`, where systemd gives the service's user access by an ACL, whose mask shows up as group bits
    (systemd.exec(5)).
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return f"{key}: {path} is not a regular file; name the PEM file itself."
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES)
    except FileNotFoundError:
        return f"{key}: {path} does not exist; put the PEM file there or correct the path."
    except OSError as error:
        return unreadable(key, path, error)
    wanted = b"PRIVATE KEY-----" if private else b"CERTIFICATE-----"
    if b"-----BEGIN " not in content or wanted not in content:
        noun = "private key" if private else "certificate"
        return f"{key}: {path} holds no PEM {noun}; put the {noun} there as issued by AWS IoT, in PEM form."
    return _privacy_problem(key, path, mode, credentials_directory) if private else ""


def unreadable(key: str, path: Path, error: OSError) -> str:
    """Return the sentence about a file that this user cannot read."""
    reason = (error.strerror or "unreadable").lower()
    return f"{key}: {path} cannot be read ({reason}); let the agent's user read it."


def _privacy_problem(key: str, path: Path, mode: int, credentials_directory: Path | None) -> str:
    inside = credentials_directory is not None and path.resolve().is_relative_to(credentials_directory.resolve())
    if mode & _OTHERS or (mode & _GROUP and not inside):
        return f"{key}: {path} is open to other users (mode {stat.S_IMODE(mode):04o}); run `chmod 600 {path}`."
    return ""
