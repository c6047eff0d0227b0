"""May this file be run? That depends on who could have put it there, and who could change it.

Owns the rule of docs/handlers.md: the file, every directory above it and every symbolic link on the way must belong to
root or the agent's user, and nobody else may write to them. With such a chain, nobody can swap the file between the
check and the start. The check only uses lstat, follows no link unchecked, and never changes anything.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePath

_WRITABLE_BY_OTHERS = 0o022
_MOST_LINKS = 40  # the kernel's own limit, path_resolution(7)
_ROOT = 0


def trust_problem(path: Path, *, owners: frozenset[int] | None = None, exempt: Sequence[Path] = ()) -> str:
    """Return why the file must not be run, with the fix, or "" if it may be. Blocks for a few lstat calls.

    `owners` are the trusted user ids (default: root and this process's effective user). Whatever really is below one of
    `exempt` is trusted, and so are the directories above that; links that lead there from elsewhere are not. A sticky
    directory of root's passes even if everybody may write to it, because only an entry's owner can replace the entry.
    """
    trusted = frozenset({_ROOT, os.geteuid()}) if owners is None else owners
    try:
        real = path.resolve(strict=True)
        prefixes = [prefix.resolve() for prefix in exempt]
        return _walk(path, trusted, [prefix for prefix in prefixes if real.is_relative_to(prefix)])
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        return f"{path} cannot be checked ({_reason(error)})"


def _reason(error: Exception) -> str:
    return (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "a loop of symbolic links"


def _walk(path: Path, trusted: frozenset[int], exempt: Sequence[Path]) -> str:
    """Resolve the path as the kernel does, one component at a time, and check each."""
    here = Path("/")
    problem = "" if exempt else _problem(here, here.lstat(), trusted)
    rest = list(path.parts[1:])
    links = 0
    while rest and not problem and links <= _MOST_LINKS:
        part = rest.pop(0)
        if part == "..":
            here = here.parent
            continue
        entry = here / part
        status = entry.lstat()
        if stat.S_ISLNK(status.st_mode):
            links += 1
            problem = _ownership_problem(entry, status, trusted)
            target = PurePath(entry.readlink())
            rest = [*target.parts[target.is_absolute() :], *rest]
            here = Path("/") if target.is_absolute() else here
        else:
            passes = any(entry.is_relative_to(prefix) or prefix.is_relative_to(entry) for prefix in exempt)
            problem = "" if passes else _problem(entry, status, trusted)
            here = entry
    return problem


def _problem(entry: Path, status: os.stat_result, trusted: frozenset[int]) -> str:
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX and status.st_uid == _ROOT
    if status.st_mode & _WRITABLE_BY_OTHERS and not sticky:
        return f"{entry} is writable by others (mode {stat.S_IMODE(status.st_mode):04o}); run `chmod go-w {entry}`"
    return _ownership_problem(entry, status, trusted)


def _ownership_problem(entry: Path, status: os.stat_result, trusted: frozenset[int]) -> str:
    if status.st_uid in trusted:
        return ""
    return f"{entry} belongs to user id {status.st_uid}; run `chown -h root {entry}`"
