"""Which handlers exist, which are enabled, and what they declare.

Owns the answer to "what may run here, and how is it started". Being installed is not enough to run: the configuration
must enable a handler by name. Handlers are never imported here. `catalog.sources` looks at their files, and
`catalog.manifests` asks them, in other processes, what they declare.
"""

import asyncio
import json
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iot_jobs_agent.built_ins import BUILT_INS, RUN_COMMAND
from iot_jobs_agent.catalog.checks import CheckedManifest, Checks
from iot_jobs_agent.catalog.manifests import EXECUTABLE_TIMEOUT_S, DeclaredManifest, ManifestQuery, Manifests
from iot_jobs_agent.catalog.sources import (
    BUILT_IN,
    WORKER,
    InstalledHandlers,
    Source,
    file_source,
    misnamed_in,
    names_in,
    python_source,
)
from iot_jobs_agent.config.spelling import advised, nearest, with_question
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.device import device_facts
from iot_jobs_agent.documents.enabled_handler import DocumentRule, EnabledHandler, Rules
from iot_jobs_agent.documents.params import schema_problem
from iot_jobs_agent.installation import installation
from iot_jobs_agent.profiles import TimeLimit, time_limits
from iot_jobs_agent.trust import trust_problem


class Catalog:
    """The handlers of this device. Empty until the first `refresh`. For one event loop only."""

    def __init__(
        self,
        config: Config,
        *,
        worker: Sequence[str] = WORKER,
        describe_timeout_s: float = EXECUTABLE_TIMEOUT_S,
        keeps_checks: bool = False,
    ) -> None:
        """`worker` runs and describes Python handlers; an executable gets `describe_timeout_s` seconds to answer.

        With `keeps_checks`, whether a manifest is valid is found out in a child, and remembered in the state directory.
        """
        self._config = config
        self._worker = tuple(worker)
        file = config.agent.state_directory / "manifests.json"
        in_unit = config.handlers.launcher == "units"
        self._manifests = Manifests(file, worker=worker, timeout_s=describe_timeout_s, in_unit=in_unit)
        self._checks = Checks(config.agent.state_directory / "checks.json" if keeps_checks else None)
        self._trusted = installation()
        self._installed = InstalledHandlers()
        self._enabled: Mapping[str, EnabledHandler] = MappingProxyType({})
        self._limits: Mapping[str, TimeLimit] = MappingProxyType({})  # by profile; empty until systemd was asked
        self._lock = asyncio.Lock()

    def enabled(self) -> Mapping[str, EnabledHandler]:
        """Return the enabled handlers by name, as of the last refresh; `unavailable` says why one cannot run."""
        return self._enabled

    def rules(self) -> Rules:
        """Return what the configuration allows in AWS's forms of document. The first call reads a file."""
        return Rules(
            directories=tuple(map(str, self._config.handlers.directories)),
            run_as_users=self._config.handlers.run_as_users,
            own_user=_own_user(),
            programs=tuple(self._config.handler_settings(RUN_COMMAND).get("programs", ())),
            device=device_facts(),
            operations=self._config.operations,
            documents=tuple(DocumentRule(*entry) for entry in self._config.documents),
            profiles=self._config.profiles,
            has_units=self._config.handlers.launcher == "units",
        )

    def known(self) -> Mapping[str, Source]:
        """Return every handler that could be enabled, by name, and every file whose name prevents that.

        Blocks: reads directories and package metadata.
        """
        names = [*self._installed.find(), *BUILT_INS, *self._config.handlers.enabled]
        for directory in self._config.handlers.directories:
            names += names_in(directory)
        found = {name: self.find(name) for name in names}
        for directory in self._config.handlers.directories:
            found |= {source.name: source for source in misnamed_in(directory)}
        return dict(sorted(found.items()))

    async def refresh(self, *, again: bool = False) -> None:
        """Look again, so that the next execution sees what was installed or changed since. Never raises.

        This costs a few lstat calls per handler. Only new or changed handlers are asked what they declare; with
        `again`, also those that failed to answer last time for a reason that may have passed, and systemd is asked
        again how long the handlers' profiles let them run.
        """
        async with self._lock:
            if self._config.handlers.launcher == "units" and (again or not self._limits):
                self._limits = await time_limits(map(self._config.profile_of, self._config.handlers.enabled))
            sources = [self.find(name) for name in self._config.handlers.enabled]
            self._enabled = MappingProxyType(await self.describe(sources, again=again))

    async def describe(self, sources: Sequence[Source], *, again: bool = False) -> dict[str, EnabledHandler]:
        """Return sources as enabled handlers, with what they declare and the configuration's overrides."""
        asked = [_query(source) for source in sources if not source.unavailable]
        answers = await self._manifests.query(asked, again=again)
        declared = [answers.get(source.name, DeclaredManifest()) for source in sources]
        checked = await self._checks.check([self._manifest_of(*each) for each in zip(sources, declared, strict=True)])
        found = zip(sources, declared, checked, strict=True)
        return {source.name: self._enabled_handler(source, answer, valid) for source, answer, valid in found}

    def find(self, name: str) -> Source:
        """Find a handler. A file in a configured directory wins over a built-in, and that over an installed package."""
        for directory in self._config.handlers.directories:
            for path in (directory / name, directory / f"{name}.sh"):
                source = file_source(name, directory, path, self._trusted)
                if source is not None:
                    return source
        if name in BUILT_INS:
            return python_source(Source(name, BUILT_IN, spec=BUILT_INS[name].spec), self._worker, self._trusted)
        if name in self._installed.find():
            return python_source(self._installed.find()[name], self._worker, self._trusted)
        return Source(
            name,
            "nowhere",
            unavailable=advised(
                "no built-in, no installed package and no file in handlers.directories has this name",
                name,
                BUILT_INS,
                "install it or remove it from handlers.enabled",
            ).removesuffix("."),
        )

    def settings_problem(self, name: str) -> str:
        """Return what is wrong with the files that a built-in runs or believes by its settings, "" if nothing is."""
        problems = (_file_problem(f"handler.{name}.{key}", file) for key, file in self._settings_files(name))
        return next(filter(None, problems), "")

    def believed(self, name: str) -> list[Path]:
        """Return the files that a handler is, and those that it runs or believes by its settings."""
        source = self.find(name)
        own = [source.path] if source.path is not None else []
        return [*own, *(file for _, file in self._settings_files(name))]

    def _settings_files(self, name: str) -> Iterator[tuple[str, Path]]:
        settings = self._config.handler_settings(name)
        for key in BUILT_INS[name].trusted_files if name in BUILT_INS else ():
            found = settings.get(key, [])
            for file in found if isinstance(found, list) else [found]:
                yield key, Path(str(file))

    def _manifest_of(self, source: Source, answer: DeclaredManifest) -> dict[str, Any]:
        return _manifest(source.name, answer.members, self._config.manifest_overrides(source.name))

    def _enabled_handler(self, source: Source, answer: DeclaredManifest, checked: CheckedManifest) -> EnabledHandler:
        name = source.name
        unavailable = checked.problem or source.unavailable or answer.problem
        params = checked.members["params"]
        if answer.members.get("name", name) != name:
            unavailable = "its manifest has another name than its file or entry point; make them equal"
        if source.directory and params and (problem := schema_problem(params)):
            unavailable = (
                unavailable or f"its manifest is wrong at params, which is not a usable JSON Schema: {problem}"
            )
        found = EnabledHandler(
            argv=source.argv,
            settings=json.dumps(dict(self._config.handler_settings(name))),
            directory=source.directory,
            **checked.members,
        )
        return found._replace(unavailable=unavailable or self.settings_problem(name) or self._time_problem(found))

    def _time_problem(self, handler: EnabledHandler) -> str:
        limit = self._limits.get(self._config.profile_of(handler.name))
        return limit.problem(handler.name, handler.longest_s) if limit is not None else ""


def _file_problem(key: str, file: Path) -> str:
    if file.exists():
        return trust_problem(file, exempt=installation())
    close = nearest(file.name, _names_beside(file))
    meant = str(file.with_name(close)) if close else ""
    return with_question(f"{file} does not exist", meant, f"correct or remove it in {key}").removesuffix(".")


def _names_beside(file: Path) -> list[str]:
    try:
        return [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return []


def _manifest(name: str, declared: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the declared manifest with the configuration's overrides. Only both together can allow a reboot."""
    values = {**declared, "name": name}
    if values.get("max_timeout_s") == values.get("timeout_s"):
        values.pop("max_timeout_s", None)  # a default that followed timeout_s, which may be overridden
    values |= overrides
    if not (declared.get("may_reboot") is True and overrides.get("may_reboot") is True):
        values["may_reboot"] = False
    return values


def _query(source: Source) -> ManifestQuery:
    return ManifestQuery(source.name, source.fingerprint, source.spec, source.path)


def _own_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
