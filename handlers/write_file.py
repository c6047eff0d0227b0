"""Write one file below a directory that the device's owner allows: old or new is there, never a part of it."""

import base64
import binascii
import contextlib
import errno
import os
import secrets
import stat
from pathlib import PurePosixPath
from typing import Self

from pydantic import BaseModel, Field, model_validator

from agent.handler import Handler, HandlerError, Job, Outcome

NEW_FILE_MODE = 0o644


class Params(BaseModel, frozen=True, extra="forbid"):
    """`path` is absolute; `mode` is octal, as in "0640", by default that of the file that was there, or 0644."""

    path: str = Field(min_length=2, max_length=4096, pattern=r"^/[^\x00]*$")
    content: str | None = None
    content_base64: str | None = None
    mode: str | None = Field(default=None, pattern=r"^0?[0-7]{3}$")

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("give either content or content_base64")
        return self


class Outside(Exception):  # noqa: N818 - it says where the path leads
    """The path leads where it must not. The message is for people."""


def write_file(params: Params, job: Job) -> Outcome:
    """Write it atomically and durably. `roots` of the settings holds the directories below which that is allowed."""
    roots = job.settings.get("roots", [])
    if not isinstance(roots, list) or not all(isinstance(each, str) and each.startswith("/") for each in roots):
        raise HandlerError("`roots` of [handler.write-file] must be a list of absolute paths")
    try:
        data = content(params)
        root, parts = below(params.path, roots)
    except (Outside, binascii.Error, UnicodeEncodeError) as error:
        return Outcome.rejected(str(error) if isinstance(error, Outside) else "content: cannot be decoded")
    try:
        directory = opened(root, parts[:-1])
    except Outside as error:
        return Outcome.rejected(str(error))
    except OSError as error:
        raise HandlerError(f"the directory cannot be opened: {error.strerror}") from None
    try:
        replace(directory, parts[-1], data, int(params.mode, 8) if params.mode else None)
    except OSError as error:
        raise HandlerError(f"the file cannot be written: {error.strerror}") from None
    finally:
        os.close(directory)
    return Outcome.succeeded(size_bytes=len(data))


def content(params: Params) -> bytes:
    """Give the bytes to write."""
    if params.content_base64 is not None:
        return base64.b64decode(params.content_base64, validate=True)
    return (params.content or "").encode()


def below(path: str, roots: list[str]) -> tuple[str, tuple[str, ...]]:
    """Find the root that a path is below, and the names on the way. Raises Outside."""
    pure = PurePosixPath(path)
    if ".." in pure.parts:
        raise Outside("path: must not contain ..")
    for root in roots:
        if pure.is_relative_to(root) and pure != PurePosixPath(root):
            return root, pure.relative_to(root).parts
    raise Outside("path: is not below one of `roots` in [handler.write-file]")


def opened(root: str, names: tuple[str, ...]) -> int:
    """Walk down from the root, following no symbolic link. Raises Outside for one, OSError for what is missing."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    directory = os.open(root, flags)
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


def is_link(name: str, directory: int) -> bool:
    """Tell a symbolic link."""
    return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def replace(directory: int, name: str, data: bytes, mode: int | None) -> None:
    """Put a new file in the place of the old one. A symbolic link there is replaced, not followed. Raises OSError."""
    if mode is None:
        mode = old_mode(directory, name)
    fresh = f".{name[:200]}.{secrets.token_hex(4)}"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=directory)
        raise
    os.fsync(directory)


def old_mode(directory: int, name: str) -> int:
    """Give the mode of the file that is there; the usual one if there is none."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return NEW_FILE_MODE
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else NEW_FILE_MODE


HANDLER = Handler(name="write-file", params=Params, run=write_file, summary=__doc__.splitlines()[0])
