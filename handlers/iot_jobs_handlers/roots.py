"""Lets built-ins write below the `roots` in their settings, through no symbolic link, atomically and durably.

Owns the walk from a root to the file's directory, and replacing the file there. Knows nothing of the file's contents.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from iot_jobs_agent.handler import HandlerError

NEW_FILE_MODE = 0o644
MOST_LINKS = 40  # the kernel's own limit, path_resolution(7)


class Outside(Exception):  # noqa: N818 - it says where the path leads
    """The path leads to where it must not. The message is for people."""


@contextlib.contextmanager
def entry(path: str, settings: Mapping[str, Any], handler: str) -> Iterator[tuple[int, str]]:
    """Open the directory of an absolute path; yield its descriptor, and the name of the file in it.

    `settings` are those of `[handler.HANDLER]`.

    Raises:
        Outside: the path is not below a root, or goes through a symbolic link.
        HandlerError: the settings are wrong, or the directory cannot be opened.
    """
    roots = settings.get("roots", [])
    if not isinstance(roots, list) or not all(isinstance(each, str) and each.startswith("/") for each in roots):
        raise HandlerError(f"`roots` of [handler.{handler}] must be a list of absolute paths")
    root, parts = below(path, roots, handler)
    try:
        directory = open_below(root, parts[:-1])
    except OSError as error:
        raise HandlerError(f"the directory cannot be opened: {error.strerror}") from None
    try:
        yield directory, parts[-1]
    finally:
        os.close(directory)


def below(path: str, roots: list[str], handler: str) -> tuple[str, tuple[str, ...]]:
    """Return the root that a path is below, and the names from there to the file. Raises Outside."""
    pure = PurePosixPath(path)
    if ".." in pure.parts:
        raise Outside("path: must not contain ..")
    for root in roots:
        if pure.is_relative_to(root) and pure != PurePosixPath(root):
            return root, pure.relative_to(root).parts
    fix = "add a directory above it there, or give another path"
    raise Outside(f"path: is not below one of `roots` in [handler.{handler}]; {fix}")


def open_below(root: str, names: tuple[str, ...]) -> int:
    """Walk down from the root and return the open directory.

    Raises Outside at a symbolic link, and OSError if a directory cannot be opened.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    directory = open_root(root)
    for name in names:
        try:
            child = os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR} and is_link(name, directory):
                raise Outside("path: leads through a symbolic link, which could lead outside of `roots`") from None
            raise
        finally:
            os.close(directory)
        directory = child
    return directory


def open_root(root: str) -> int:
    """Return a root, open. On the way, only links of root or of our own user are followed.

    Whoever owns a directory above it could put one there, and would choose where we write. Raises Outside at another
    user's link, and OSError if a directory cannot be opened.
    """
    ways = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # to pass through a directory, nobody needs to read it
    here = os.open("/", ways)
    rest, links = list(PurePosixPath(root).parts[1:]), 0
    try:
        while rest:
            name, start = rest.pop(0), here
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                here = os.open(name, ways | os.O_NOFOLLOW, dir_fd=here)
                os.close(start)
                continue
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if found.st_uid not in {0, os.geteuid()}:
                fix = "give the directory that is meant in `roots`, below directories of root's"
                raise Outside(f"path: the way to the root {root} has a symbolic link of user id {found.st_uid}; {fix}")
            target = PurePosixPath(os.readlink(name, dir_fd=here))
            rest = [*target.parts[target.is_absolute() :], *rest]
            if target.is_absolute():
                here = os.open("/", ways)
                os.close(start)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)


def is_link(name: str, directory: int) -> bool:
    """Return whether the name in the directory is a symbolic link."""
    return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def replace(directory: int, name: str, data: bytes, mode: int | None) -> None:
    """Replace a file atomically and durably. A symbolic link in its place is replaced, not followed. Raises OSError."""
    fresh = f".{name[:200]}.{secrets.token_hex(4)}"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            publish(directory, fresh, stream.fileno(), name, mode)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=directory)
        raise


def publish(directory: int, fresh: str, file: int, name: str, mode: int | None) -> None:
    """Give the complete file `fresh` (open as `file`) its mode and its final name, each durably, in that order.

    Without a mode, it gets that of the file that it replaces, or the default. Raises OSError.
    """
    os.fchmod(file, old_mode(directory, name) if mode is None else mode)
    os.fsync(file)
    os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def old_mode(directory: int, name: str) -> int:
    """Return the mode of the present file, or the default if there is none."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return NEW_FILE_MODE
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else NEW_FILE_MODE
