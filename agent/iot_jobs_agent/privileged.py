"""The first process of a privileged handler's unit: runs only what root's own configuration gives this profile.

Where `shim.entry` starts the program that the agent names, this one believes the agent nothing but the params and the
name of the handler. Program and settings come from root's configuration and root's files, which neither the agent nor a
handler can change, and the handler must be mapped to this very profile there. So a forged request can ask for what any
job document could ask for: params of any kind, a checkpoint, another attempt. So a privileged handler has to check its
params by itself, as the built-ins do.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.config import config as configuration
from iot_jobs_agent.errors import ConfigError
from iot_jobs_agent.shim import entry
from iot_jobs_agent.trust import trust_problem

CONFIG = Path("/etc/iot-jobs-agent/config.toml")
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
    if problem := trust_problem(config_file):
        raise entry.RefusedError(f"the configuration is not believed: {problem}")
    try:
        config = configuration.load_handlers(copy or config_file)
    except ConfigError as error:
        raise entry.RefusedError(f"the configuration cannot be used: {error}") from None
    if config.handlers.launcher != "units" or name not in config.handlers.enabled:
        raise entry.RefusedError(f"{config_file} does not enable handler {name!r} in a unit of its own")
    if config.profiles.get(name) != profile:
        raise entry.RefusedError(f'{config_file} does not say profile = "{profile}" in [handler.{name}]')
    catalog = Catalog(config)
    source = catalog.find(name)
    if problem := source.unavailable or catalog.settings_problem(name):
        raise entry.RefusedError(f"handler {name} is unavailable: {problem}")
    if spec.get("kind") != "handler":
        raise entry.RefusedError(f"profile {profile} runs handlers, not commands of a document")
    told = {key: str(spec["env"].get(key, "")) for key in FACTS}
    environment = {key: value for key, value in told.items() if re.fullmatch(FACTS[key], value)}
    phase = environment.get("JOB_PHASE", "run")
    return {
        **spec,
        "argv": [*source.argv, phase],
        "env": {**environment, "PATH": PATH, "LANG": "C.UTF-8", "JOB_PROTOCOL": "1", "JOB_CONTROL_FD": "3"},
        "home": "/root" if os.geteuid() == 0 else "",  # programs obey files there, and JOB_DIR has what attempts left
        "settings": json.dumps(dict(config.handler_settings(name))),
    }


def main(instance: str, prefix: str) -> int:
    """Be the first process of the unit `PREFIX@INSTANCE.service`. Return its exit status: 1 if the shim is gone.

    The unit's own name says which profile it is, so a copy of a template has none of the old one's rights.
    """
    profile = prefix.removeprefix("iot-job-")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")  # of a unit that does not run as root
    copy = Path(credentials, CONFIG.name) if credentials else None
    return entry.main(instance, lambda spec: approved(spec, profile, CONFIG, copy=copy))
