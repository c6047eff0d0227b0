"""AWS's eight managed job templates, version 1.0 of each (developer guide, page job-templates-managed).

The words for AWS-Download-File are AWS's own (page job-template-manage-cli-create). Of the other templates' parameters
only the names are documented, so their descriptions and examples follow its model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from iot_jobs_simulator.names import REGION
from iot_jobs_simulator.refusals import not_found

VERSION: Final = "1.0"
ENVIRONMENT: Final = "LINUX"


@dataclass(frozen=True, slots=True)
class TemplateParameter:
    """What `documentParameters` may hold under its key. The whole value has to match `regex`."""

    key: str
    description: str
    regex: str
    example: str
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class ManagedTemplate:
    """One template. `document` has a placeholder for each parameter."""

    name: str
    description: str
    document: str
    parameters: tuple[TemplateParameter, ...]

    @property
    def arn(self) -> str:
        """Without an account, with the version."""
        return f"arn:aws:iot:{REGION}::jobtemplate/{self.name}:{VERSION}"


def placeholder(key: str) -> str:
    """What stands for a parameter in the document of a managed template."""
    return f"${{aws:iot:parameter:{key}}}"


_RUN_AS_USER: Final = TemplateParameter(
    "runAsUser",
    "Execute handler as another user. If not specified, then handler is executed as the same user as device client.",
    "(.){0,256}",
    "user1",
    is_optional=True,
)
_PATH_TO_HANDLER: Final = TemplateParameter(
    "pathToHandler",
    "Path to handler on the device. If not specified, then device client will use the current working directory.",
    "(.){0,4096}",
    "/path/to/handler/script",
    is_optional=True,
)


def _required(key: str, description: str, example: str) -> TemplateParameter:
    return TemplateParameter(key, description, "(.*?)", example)


_DOWNLOAD: Final = (
    _required("downloadUrl", "URL of file to download.", "http://www.example.com/index.html"),
    _required("filePath", "Path on the device where downloaded file is written.", "/path/to/file"),
)
_PACKAGES: Final = (_required("packages", "Space-separated list of packages.", "nginx curl"),)
_SERVICES: Final = (_required("services", "Space-separated list of services.", "nginx cron"),)
_COMMAND: Final = (_required("command", "Comma-separated command and its arguments.", "echo,hello"),)


def _template(
    action: str, purpose: str, action_input: Mapping[str, Any], parameters: tuple[TemplateParameter, ...]
) -> ManagedTemplate:
    kind = "runHandler" if "handler" in action_input else "runCommand"
    step = {"name": action, "type": kind, "input": action_input, "runAsUser": placeholder("runAsUser")}
    document = json.dumps({"version": VERSION, "steps": [{"action": step}]}, separators=(",", ":"))
    return ManagedTemplate(f"AWS-{action}", f"A managed job template for {purpose}.", document, parameters)


def _with_handler(
    action: str, purpose: str, handler: str, required: tuple[TemplateParameter, ...] = ()
) -> ManagedTemplate:
    arguments = {"args": [placeholder(parameter.key) for parameter in required]} if required else {}
    action_input = {"handler": handler, **arguments, "path": placeholder("pathToHandler")}
    return _template(action, purpose, action_input, (*required, _RUN_AS_USER, _PATH_TO_HANDLER))


_APPLICATIONS: Final = "one or more applications"
_SYSTEM_SERVICES: Final = "one or more system services"
MANAGED_TEMPLATES: Final[Mapping[str, ManagedTemplate]] = {
    template.name: template
    for template in (
        _with_handler("Download-File", "downloading a file", "download-file.sh", _DOWNLOAD),
        _with_handler("Install-Application", f"installing {_APPLICATIONS}", "install-packages.sh", _PACKAGES),
        _with_handler("Reboot", "rebooting the device", "reboot.sh"),
        _with_handler("Remove-Application", f"uninstalling {_APPLICATIONS}", "remove-packages.sh", _PACKAGES),
        _with_handler("Restart-Application", f"restarting {_SYSTEM_SERVICES}", "restart-services.sh", _SERVICES),
        _template("Run-Command", "running a command", {"command": placeholder("command")}, (*_COMMAND, _RUN_AS_USER)),
        _with_handler("Start-Application", f"starting {_SYSTEM_SERVICES}", "start-services.sh", _SERVICES),
        _with_handler("Stop-Application", f"stopping {_SYSTEM_SERVICES}", "stop-services.sh", _SERVICES),
    )
}


def managed_template(name: str, version: str | None = None) -> ManagedTemplate:
    """The template of that name, or ResourceNotFound. There is one version of each."""
    if name not in MANAGED_TEMPLATES or version not in (None, VERSION):
        shown = name if version is None else f"{name}:{version}"
        raise not_found(f"Job Template {shown} cannot be found.")
    return MANAGED_TEMPLATES[name]
