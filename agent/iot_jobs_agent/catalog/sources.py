"""Where handlers come from: files in configured directories, built-ins, installed packages.

Only looks, and imports none of them. Blocks: reads directories and package metadata.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from iot_jobs_agent.handler_name import handler_name_problem
from iot_jobs_agent.installation import handler_packages
from iot_jobs_agent.shim.start import first_line_problem
from iot_jobs_agent.trust import trust_problem

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILT_IN = "built in"
MANIFEST_SUFFIX = ".manifest.json"
_LONGEST_NAME = 64
ENTRY_POINTS = "iot_jobs_agent.handlers"
WORKER = (sys.executable, "-I", "-m", "iot_jobs_agent.worker")


class Source(NamedTuple):
    """Where a handler comes from (`origin`, in words), and what it takes to start it and to ask for its manifest.

    A Python handler has a `spec`, `module:attribute`. An executable has a `directory`, the configured one that it is
    in. `unavailable` says why the handler cannot be used, "" if it can.
    """

    name: str
    origin: str
    argv: tuple[str, ...] = ()
    spec: str = ""
    path: Path | None = None
    directory: str = ""
    version: str = ""
    unavailable: str = ""

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the handler's manifest may have changed."""
        parts = [*self.argv, self.version]
        if self.path is not None:
            parts.append(_state_of(self.path))
            if not self.spec:
                parts.append(_state_of(manifest_file(self.name, self.path.parent)))
        return "|".join(parts)


def manifest_file(name: str, directory: Path) -> Path:
    """Return the file in which a handler's manifest may stand, so that the handler need not be started for it."""
    return directory / f"{name}{MANIFEST_SUFFIX}"


def file_source(name: str, directory: Path, path: Path, trusted: Sequence[Path]) -> Source | None:
    """Return an executable as a source, or None if it does not exist. Files below `trusted` pass the trust check."""
    source = Source(name, str(path), (str(path),), path=path, directory=str(directory))
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = (error.strerror or "unknown").lower()
        return source._replace(unavailable=f"{path} cannot be looked at ({why})")
    return source._replace(unavailable=trust_problem(path, exempt=trusted) or _executable_problem(path))


def python_source(source: Source, worker: Sequence[str], trusted: Sequence[Path]) -> Source:
    """Complete a source that has a spec: how `worker` starts it, and a problem if its module is not to be trusted."""
    path = _module_file(source.spec.partition(":")[0])
    problem = source.unavailable or (trust_problem(path, exempt=trusted) if path else "")
    return source._replace(argv=(*worker, source.spec), path=path, unavailable=problem)


def names_in(directory: Path) -> Iterator[str]:
    """List the handler names that the files in a directory stand for; none if it cannot be read.

    A name with a dot counts only if the file can be executed: others are data that lie beside the handlers.
    """
    for path in _files_in(directory):
        name = path.name.removesuffix(".sh")
        if not handler_name_problem(name) and ("." not in name or os.access(path, os.X_OK)):
            yield name


def misnamed_in(directory: Path) -> Iterator[Source]:
    """List the programs and scripts in a directory whose names no handler can have, with the fix; none is usable."""
    for path in _files_in(directory):
        looks_like_a_handler = path.suffix == ".sh" or os.access(path, os.X_OK)
        if looks_like_a_handler and handler_name_problem(path.name.removesuffix(".sh")):
            fix = f"rename it, for example to {_usable(path.name)}"
            yield Source(path.name, str(path), path=path, unavailable=f"its name cannot be that of a handler; {fix}")


def _files_in(directory: Path) -> Iterator[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError:
        return
    for path in found:
        if not path.name.startswith(".") and not path.name.endswith(MANIFEST_SUFFIX) and not path.is_dir():
            yield path


def _usable(file: str) -> str:
    """Return the name that is most like that of a file, and that a handler's file can have."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", file)
    while stem.endswith(".sh"):
        stem = stem.removesuffix(".sh")
    stem = stem.strip("-_.")[:_LONGEST_NAME] or "handler"
    return f"{stem}.sh" if file.endswith(".sh") else stem


class InstalledHandlers:
    """The handlers of installed packages, as their metadata lists them: not yet located, not yet checked for trust."""

    def __init__(self) -> None:
        self._seen: tuple[tuple[str, int], ...] = ()
        self._sources: dict[str, Source] = {}

    def find(self) -> Mapping[str, Source]:
        """Return them by name. Reads all metadata, for milliseconds, only if a directory of packages has changed."""
        seen = tuple(_modified([*sys.path, *handler_packages()]))
        if seen != self._seen:
            sources: dict[str, Source] = {}
            for point in _entry_points():
                version = f"{point.dist.name} {point.dist.version}" if point.dist else "of unknown name"
                source = Source(point.name, f"package {version}", spec=point.value, version=version)
                other = sources.get(point.name, source)
                if other.spec != source.spec:
                    both = f"{other.origin} and {source.origin}"
                    source = source._replace(unavailable=f"both {both} provide it; uninstall one")
                if problem := handler_name_problem(point.name):
                    source = source._replace(unavailable=f"the name of its entry point {problem}")
                sources[point.name] = source
            self._seen, self._sources = seen, sources
        return self._sources


def _state_of(path: Path) -> str:
    """Return a text that changes whenever the file does."""
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{path} {status.st_ino} {status.st_mtime_ns} {status.st_size}"


def _executable_problem(path: Path) -> str:
    if not path.is_file():
        return f"{path} is not a regular file; remove it"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable by the agent; run `chmod 755 {path}`"
    problem = first_line_problem(str(path))
    return f"{path} cannot be started: {problem}" if problem else ""


def _module_file(module: str) -> Path | None:
    """Return the path of the module's file without importing anything; None if it cannot be found."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) or PathFinder.find_spec(top, handler_packages())
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location and spec.origin else None
    for location in spec.submodule_search_locations or ():
        stem = Path(location).joinpath(*rest)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


def _modified(directories: Sequence[str]) -> Iterator[tuple[str, int]]:
    for directory in directories:
        try:
            yield directory, os.stat(directory).st_mtime_ns  # noqa: PTH116 - sys.path has strings
        except OSError:
            yield directory, 0


def _entry_points() -> "Sequence[EntryPoint]":
    from importlib.metadata import distributions, entry_points  # noqa: PLC0415 - slow, and not always needed

    added = [point for each in distributions(path=handler_packages()) for point in each.entry_points]
    return (*entry_points(group=ENTRY_POINTS), *(point for point in added if point.group == ENTRY_POINTS))
