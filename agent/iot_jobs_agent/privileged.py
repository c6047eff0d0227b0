"""The first process of a privileged handler's unit: runs only what root's own configuration gives this profile.

Where `shim.entry` starts the program that the agent names, this one believes the agent nothing but the params and the
name of the handler. Program and settings come from root's configuration and root's files, which neither the agent nor a
handler can change, and the handler must be mapped to this very profile there. So a forged request can ask for what any
job document could ask for: params of any kind, a checkpoint, another attempt. So a privileged handler has to check its
params by itself, as the built-ins do.

The profile `as-USER` runs, as that user, what documents with a `runAsUser` can ask for: any enabled handler that has no
profile of its own, and plain commands, of which root's files give all but the arguments.
"""

import json
import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iot_jobs_agent.built_ins import RUN_COMMAND
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.sources import Source
from iot_jobs_agent.config import config as configuration
from iot_jobs_agent.config import validation  # noqa: F401 - with all the rest, before anything of a job is there
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.device import AS_USER
from iot_jobs_agent.errors import ConfigError
from iot_jobs_agent.installation import installation
from iot_jobs_agent.shim import entry
from iot_jobs_agent.trust import trust_problem

CONFIG = Path("/etc/iot-jobs-agent/config.toml")
OWNERS = frozenset({0})
_RUNS = {  # by whether the profile is a user's
    False: "runs handlers, not commands of a document",
    True: "runs only what a document can ask for: scripts with the user first, listed programs, Python handlers",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a handler is told of its job. The forms are those that the agent makes; anything else is not passed on.
FACTS = {
    "JOB_ID": r"[a-zA-Z0-9_-]{1,64}",
    "JOB_NAMESPACE": r"[a-zA-Z0-9_-]{0,64}",
    "JOB_THING_NAME": r"[a-zA-Z0-9:_-]{1,128}",
    "JOB_EXECUTION_NUMBER": r"[0-9]{1,18}",
    "JOB_STEP": r"[0-9]{1,4}",
    "JOB_ATTEMPT": r"[0-9]{1,6}",
    "JOB_PHASE": r"run|resume",
    "JOB_REASON": r"[a-z-]{1,32}",
    "JOB_DEADLINE_S": r"[0-9]{1,9}",
    "JOB_TOKEN": r"[0-9a-f]{32}",
}


def approved(
    spec: Mapping[str, Any], profile: str, config_file: Path = CONFIG, *, copy: Path | None = None
) -> dict[str, Any]:
    """Return what to start in place of what the agent asked for. Blocks.

    `copy` is systemd's copy of the file, for a unit that may not read it; who may change the file itself still counts.

    Raises:
        RefusedError: root's configuration does not give this profile to the handler, or its files cannot be trusted.
    """
    name = str(spec.get("handler", ""))
    config = _believed(config_file, copy)
    if config.handlers.launcher != "units" or name not in config.handlers.enabled:
        raise entry.RefusedError(f"{config_file} does not enable handler {name!r} in a unit of its own")
    user = profile.removeprefix(AS_USER) if profile.startswith(AS_USER) else ""
    if user:
        _check_user(config, config_file, name, user)
    elif config.profiles.get(name) != profile:
        raise entry.RefusedError(f'{config_file} does not say profile = "{profile}" in [handler.{name}]')
    catalog = Catalog(config)
    source = catalog.find(name)
    if problem := source.unavailable or catalog.settings_problem(name) or _owner_problem(source.path):
        raise entry.RefusedError(f"handler {name} is unavailable: {problem}")
    if user and spec.get("kind") == "command":
        return _command(spec, config, source, user)
    if spec.get("kind") != "handler" or (user and source.directory):
        raise entry.RefusedError(f"profile {profile} {_RUNS[bool(user)]}")
    environment = _environment(spec, user) | {"JOB_CONTROL_FD": "3"}
    return {
        **spec,
        "argv": [*source.argv, environment.get("JOB_PHASE", "run")],
        "env": environment,
        "home": _home(user),
        "settings": json.dumps(dict(config.handler_settings(name))),
    }


def _believed(config_file: Path, copy: Path | None) -> Config:
    """Return root's configuration. Raises RefusedError if it may be another's, or is wrong."""
    if problem := trust_problem(config_file, owners=OWNERS):
        raise entry.RefusedError(f"the configuration is not believed: {problem}")
    try:
        return configuration.load_handlers(copy or config_file)
    except ConfigError as error:
        raise entry.RefusedError(f"the configuration cannot be used: {error}") from None


def _check_user(config: Config, config_file: Path, name: str, user: str) -> None:
    """Refuse a handler that no document may have run as `user`. Raises RefusedError."""
    if user not in config.handlers.run_as_users:
        raise entry.RefusedError(f"{config_file} does not list {user!r} in handlers.run_as_users")
    if own := config.profiles.get(name):
        raise entry.RefusedError(f'{config_file} says profile = "{own}" in [handler.{name}], so that is where it runs')
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise entry.RefusedError(f"there is no user {user!r}; create it, or correct handlers.run_as_users") from None
    if {uid} != set(os.getresuid()):
        raise entry.RefusedError(
            f"the user of this unit is not {user!r}; correct User= in iot-job-{AS_USER}{user}@.service"
        )


def _command(spec: Mapping[str, Any], config: Config, source: Source, user: str) -> dict[str, Any]:
    """Return a plain command as some document could ask for it: a script, or a program of run-command's settings.

    Raises RefusedError.
    """
    argv = spec.get("argv")
    if not isinstance(argv, list) or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise entry.RefusedError("the arguments are not a list of texts")
    start = [*source.argv, user]
    is_script = bool(source.directory) and argv[: len(start)] == start
    programs = config.handler_settings(RUN_COMMAND).get("programs", ()) if source.name == RUN_COMMAND else ()
    if not is_script and (not argv or argv[0] not in programs):
        raise entry.RefusedError(f"profile {AS_USER}{user} {_RUNS[True]}")
    if problem := _owner_problem(Path(argv[0])):
        raise entry.RefusedError(f"handler {source.name} is unavailable: {problem}")
    environment = _environment(spec, user)
    return {**spec, "argv": argv, "env": environment, "home": _home(user), "settings": "{}", "job": "{}"}


def _environment(spec: Mapping[str, Any], user: str) -> dict[str, str]:
    """Return what a handler is told of its job, and what root's own files say."""
    told = {key: str(spec["env"].get(key, "")) for key in FACTS}
    facts = {key: value for key, value in told.items() if re.fullmatch(FACTS[key], value)}
    own = {"USER": user, "LOGNAME": user} if user else {}
    return facts | own | {"PATH": PATH, "LANG": "C.UTF-8", "JOB_PROTOCOL": "1"}


def _home(user: str) -> str:
    """Return HOME, "" for the handler's own directory: programs obey files there, and that has what attempts left."""
    if user:
        return pwd.getpwnam(user).pw_dir
    return "/root" if os.geteuid() == 0 else ""


def _owner_problem(file: Path | None) -> str:
    """Return why a file is not root's alone, "" if it is. The user that this process runs as counts for nothing."""
    return trust_problem(file, owners=OWNERS, exempt=installation()) if file else ""


def main(instance: str, prefix: str) -> int:
    """Be the first process of the unit `PREFIX@INSTANCE.service`. Return its exit status: 1 if the shim is gone.

    The unit's own name says which profile it is, so a copy of a template has none of the old one's rights.
    """
    profile = prefix.removeprefix("iot-job-")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")  # of a unit that does not run as root
    copy = Path(credentials, CONFIG.name) if credentials else None
    return entry.main(instance, lambda spec: approved(spec, profile, CONFIG, copy=copy))
