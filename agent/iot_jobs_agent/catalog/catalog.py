"""Which handlers exist, which are enabled, and what they declare.

Owns the answer to "what may run here, and how is it started". Nothing runs by being present: a name counts only if the
configuration enables it. Handlers are never imported, only looked at and asked (`catalog.manifests`).
"""

import asyncio
import importlib.util
import json
import os
import pwd
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from iot_jobs_agent.catalog.manifests import Answer, Described, Manifests
from iot_jobs_agent.catalog.trust import distrust
from iot_jobs_agent.device import device_facts
from iot_jobs_agent.documents.enabled_handler import Offer, Rules
from iot_jobs_agent.handler import Manifest
from iot_jobs_agent.installation import installation as own_installation

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from iot_jobs_agent.config.config import Config

BUILT_INS: Mapping[str, str] = {
    "collect-logs": "iot_jobs_handlers.collect_logs:HANDLER",
    "download-file": "iot_jobs_handlers.download_file:HANDLER",
    "install-packages": "iot_jobs_handlers.packages:INSTALL",
    "reboot": "iot_jobs_handlers.reboot:HANDLER",
    "remove-packages": "iot_jobs_handlers.packages:REMOVE",
    "restart-services": "iot_jobs_handlers.services:RESTART",
    "run-command": "iot_jobs_handlers.run_command:HANDLER",
    "start-services": "iot_jobs_handlers.services:START",
    "stop-services": "iot_jobs_handlers.services:STOP",
    "write-file": "iot_jobs_handlers.write_file:HANDLER",
}
ENTRY_POINTS = "iot_jobs_agent.handlers"
WORKER = (sys.executable, "-I", "-m", "iot_jobs_agent.worker")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a handler of some name comes from: `origin` in words, and how it is started, described and trusted."""

    name: str
    origin: str
    argv: tuple[str, ...] = ()
    spec: str = ""
    path: Path | None = None
    directory: str = ""
    version: str = ""
    unavailable: str = ""


@dataclass(slots=True)
class _Installed:
    """Entry points found, and the state of `sys.path` they were found in (reading all metadata takes milliseconds).

    Each source as the package's metadata has it: not yet located, not yet trusted.
    """

    seen: tuple[tuple[str, int], ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)


class Catalog:
    """The handlers of this device. Empty until the first `refresh`. One event loop only."""

    def __init__(
        self,
        config: "Config",
        *,
        worker: Sequence[str] = WORKER,
        describe_timeout_s: float = 10.0,
        installation: Sequence[Path] | None = None,
        specs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`worker` runs and describes Python handlers.

        What lies below `installation` (by default: where our own code lies) is trusted as it is. `specs` are
        `module:attribute` of Python handlers that are not installed, by name: for trials only.
        """
        self._config = config
        self._worker = tuple(worker)
        self._installation = own_installation() if installation is None else tuple(installation)
        self._specs = specs
        file = config.agent.state_directory / "manifests.json"
        self._manifests = Manifests(file, worker=worker, timeout_s=describe_timeout_s)
        self._installed = _Installed()
        self._offers: Mapping[str, Offer] = MappingProxyType({})
        self._lock = asyncio.Lock()

    def offers(self) -> Mapping[str, Offer]:
        """The enabled handlers by name, as of the last refresh; one that cannot run says why."""
        return self._offers

    def rules(self) -> Rules:
        """What the configuration allows AWS's documents."""
        return Rules(
            directories=tuple(map(str, self._config.handlers.directories)),
            run_as_users=self._config.handlers.run_as_users,
            own_user=_own_user(),
            programs=tuple(self._config.handler_settings("run-command").get("programs", ())),
            device=device_facts(),
        )

    def known(self) -> Mapping[str, Source]:
        """Every handler that could be enabled, by name. Blocking: reads directories and package metadata."""
        names = [*self._find_installed(), *BUILT_INS, *self._config.handlers.enabled]
        for directory in self._config.handlers.directories:
            names += _names_in(directory)
        return {name: self._find(name) for name in sorted(set(names))}

    async def refresh(self, *, again: bool = False) -> None:
        """Look again, so that what was installed or changed since counts from the next execution on. Never raises.

        Costs a few lstat calls a handler; only a handler that is new or changed is asked what it declares, and with
        `again` those that did not answer the last time because of something that may pass.
        """
        async with self._lock:
            sources = [self._find(name) for name in self._config.handlers.enabled]
            asked = [_described(source) for source in sources if not source.unavailable]
            answers = await self._manifests.of(asked, again=again)
            offers = {source.name: self._offer(source, answers.get(source.name, Answer())) for source in sources}
            self._offers = MappingProxyType(offers)

    def _find(self, name: str) -> Source:
        """A file of a configured directory wins over a built-in, and that over an installed package."""
        if name in self._specs:
            return self._python(Source(name, self._specs[name], spec=self._specs[name]))
        for directory in self._config.handlers.directories:
            for path in (directory / name, directory / f"{name}.sh"):
                source = self._executable(name, directory, path)
                if source is not None:
                    return source
        if name in BUILT_INS:
            return self._python(Source(name, "built in", spec=BUILT_INS[name]))
        if name in self._find_installed():
            return self._python(self._installed.sources[name])
        return Source(
            name,
            "nowhere",
            unavailable="no built-in, no installed package and no file in handlers.directories has this name; "
            "install it or remove it from handlers.enabled",
        )

    def _executable(self, name: str, directory: Path, path: Path) -> Source | None:
        source = Source(name, str(path), (str(path),), path=path, directory=str(directory))
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return replace(source, unavailable=f"{path} cannot be looked at ({(error.strerror or 'unknown').lower()})")
        return replace(source, unavailable=distrust(path, exempt=self._installation) or _unexecutable(path))

    def _python(self, source: Source) -> Source:
        path = _module_file(source.spec.partition(":")[0])
        fault = source.unavailable or (distrust(path, exempt=self._installation) if path else "")
        return replace(source, argv=(*self._worker, source.spec), path=path, unavailable=fault)

    def _find_installed(self) -> Mapping[str, Source]:
        seen = tuple(_modified(sys.path))
        if seen != self._installed.seen:
            sources: dict[str, Source] = {}
            for point in _entry_points():
                version = f"{point.dist.name} {point.dist.version}" if point.dist else "of unknown name"
                source = Source(point.name, f"package {version}", spec=point.value, version=version)
                other = sources.get(point.name, source)
                if other.spec != source.spec:
                    both = f"{other.origin} and {source.origin}"
                    source = replace(source, unavailable=f"both {both} provide it; uninstall one")
                sources[point.name] = source
            self._installed = _Installed(seen, sources)
        return self._installed.sources

    def _offer(self, source: Source, answer: Answer) -> Offer:
        name = source.name
        unavailable = source.unavailable or answer.fault
        try:
            manifest = _manifest(name, answer.declared, self._config.manifest_overrides(name))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            member = ".".join(map(str, detail["loc"]))
            unavailable = f"its manifest is wrong at {member}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
            manifest = Manifest(name=name)
        if answer.declared.get("name", name) != name:
            unavailable = "its manifest has another name than its file or entry point; make them equal"
        settings = json.dumps(self._config.handler_settings(name))
        return Offer(name, manifest, source.argv, settings, source.directory, unavailable)


def _manifest(name: str, declared: Mapping[str, Any], overrides: Mapping[str, Any]) -> Manifest:
    """What was declared, the configuration on top. A reboot needs the word of both."""
    values = {**declared, "name": name}
    if values.get("max_timeout_s") == values.get("timeout_s"):
        values.pop("max_timeout_s", None)  # not chosen but followed from timeout_s, which may be overridden
    values |= overrides
    if not (declared.get("may_reboot") is True and overrides.get("may_reboot") is True):
        values["may_reboot"] = False
    return Manifest.model_validate(values)


def _described(source: Source) -> Described:
    parts = [*source.argv, source.version]
    if source.path is not None:
        try:
            status = source.path.stat()
            parts += map(str, (source.path, status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            parts.append("gone")
    return Described(source.name, "|".join(parts), source.spec, source.path)


def _unexecutable(path: Path) -> str:
    if not path.is_file():
        return f"{path} is not a regular file; remove it"
    return "" if os.access(path, os.X_OK) else f"{path} is not executable by the agent; run `chmod 755 {path}`"


def _names_in(directory: Path) -> Iterator[str]:
    try:
        found = sorted(entry.name.removesuffix(".sh") for entry in directory.iterdir())
    except OSError:
        return
    for name in found:
        try:
            yield Manifest(name=name).name
        except ValidationError:
            continue


def _module_file(module: str) -> Path | None:
    """Where the module's file lies, without importing any of it; None if that cannot be told."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
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
            yield directory, os.stat(directory).st_mtime_ns  # noqa: PTH116 - sys.path holds strings
        except OSError:
            yield directory, 0


def _entry_points() -> "Sequence[EntryPoint]":
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and needed only for installed handlers

    return tuple(entry_points(group=ENTRY_POINTS))


def _own_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
