"""May this file be run or believed: who could have put it there, or could change it?

Owns the rule of docs/handlers.md: the file, every directory above it and every symbolic link on the way must belong to
root or the agent's user, and nobody else may write to them. With such a chain, nobody can swap the file between the
check and the start. The check only uses lstat, follows no link unchecked, and never changes anything.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_WRITABLE_BY_OTHERS = 0o022
_MOST_LINKS = 40  # the kernel's own limit, path_resolution(7)
_ROOT = 0


def trust_problem(path: Path, *, owners: frozenset[int] | None = None, exempt: Sequence[Path] = ()) -> str:
    """Return why the file must not be run or believed, with the fix, or "" if it may be. Blocking: a few lstat calls.

    `owners` are the trusted user ids (default: root and this process's effective user). Whatever really is below one of
    `exempt` is trusted, and so are the directories above that; links that lead there from elsewhere are not. A sticky
    directory of root's passes even if everybody may write to it, because only an entry's owner can replace the entry.
    """
    trusted = frozenset({_ROOT, os.geteuid()}) if owners is None else owners
    try:
        for entry, status in list(_way_to(path)):  # the whole way, before any of it is judged
            is_link = stat.S_ISLNK(status.st_mode)
            problem = (_ownership_problem if is_link else _problem)(entry, status, trusted)
            if problem and (is_link or not _is_exempt(entry, path, exempt)):
                return problem
    except OSError as error:
        return f"{path} cannot be checked ({(error.strerror or 'unreadable').lower()})"
    return ""


def way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give what the kernel passes on its way to a path: directories, links, the file. Raises OSError.

    The way to a relative one leads through the working directory and all that is above it.
    """
    for entry, status in _way_to(path):
        yield Path(entry), status


def _way_to(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Do the same with strings: this happens for every execution, and pathlib takes three times as long."""
    here = ""
    yield "/", os.lstat("/")
    rest = os.path.join(os.getcwd(), path).split("/")[::-1]  # noqa: PTH109, PTH118 - see above
    links = 0
    while rest:
        part = rest.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        entry = f"{here}/{part}"
        status = os.lstat(entry)
        yield entry, status
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, "a loop of symbolic links", entry)
            target = os.readlink(entry)  # noqa: PTH115 - see above
            rest += target.split("/")[::-1]
            here = "" if target.startswith("/") else here
        else:
            here = entry


def _is_exempt(entry: str, path: Path, exempt: Sequence[Path]) -> bool:
    """Return whether `entry` is in one of `exempt` that `path` really is in, or on the way to it. Raises OSError."""
    real = path.resolve(strict=True)
    prefixes = [prefix for prefix in map(Path.resolve, exempt) if real.is_relative_to(prefix)]
    return any(Path(entry).is_relative_to(prefix) or prefix.is_relative_to(entry) for prefix in prefixes)


def owner_of(directory: Path) -> int | None:
    """Return the user id that the directory belongs to, None if it is not there. Blocking."""
    try:
        return directory.stat().st_uid
    except OSError:
        return None


def _problem(entry: str, status: os.stat_result, trusted: frozenset[int]) -> str:
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX and status.st_uid == _ROOT
    if status.st_mode & _WRITABLE_BY_OTHERS and not sticky:
        return f"{entry} is writable by others (mode {stat.S_IMODE(status.st_mode):04o}); run `chmod go-w {entry}`"
    return _ownership_problem(entry, status, trusted)


def _ownership_problem(entry: str, status: os.stat_result, trusted: frozenset[int]) -> str:
    if status.st_uid in trusted:
        return ""
    return f"{entry} belongs to user id {status.st_uid}; run `chown -h root {entry}`"
