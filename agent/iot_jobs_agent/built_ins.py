"""The built-in handlers: the one table of everything that the agent knows about each. It imports none of them."""

from collections.abc import Mapping
from typing import NamedTuple


class BuiltIn(NamedTuple):
    """One built-in. `spec` is its `module:attribute`.

    `template_args` names the params that the args of AWS's managed template of the same name stand for, in order;
    `template_list` names the param that takes all further args, a list whose items are separated by spaces.
    `path_lists` are the settings that hold lists of absolute paths, each with a path such as people write there;
    `writes_below` is the one of them that names the directories it may write below.
    `trusted_files` are the settings that name what it runs or believes, a path or a list of them.
    """

    spec: str
    template_args: tuple[str, ...] = ()
    template_list: str = ""
    path_lists: Mapping[str, str] = {}
    writes_below: str = ""
    trusted_files: tuple[str, ...] = ()


RUN_COMMAND = "run-command"
BUILT_INS: Mapping[str, BuiltIn] = {
    "collect-logs": BuiltIn("iot_jobs_handlers.collect_logs:HANDLER", trusted_files=("ca_file",)),
    "download-file": BuiltIn(
        "iot_jobs_handlers.download_file:HANDLER",
        ("url", "path"),
        path_lists={"roots": "/srv/data"},
        writes_below="roots",
        trusted_files=("ca_file",),
    ),
    "install-packages": BuiltIn("iot_jobs_handlers.packages:INSTALL", template_list="packages"),
    "reboot": BuiltIn("iot_jobs_handlers.reboot:HANDLER"),
    "remove-packages": BuiltIn("iot_jobs_handlers.packages:REMOVE", template_list="packages"),
    "restart-services": BuiltIn("iot_jobs_handlers.services:RESTART", template_list="services"),
    RUN_COMMAND: BuiltIn(
        "iot_jobs_handlers.run_command:HANDLER",
        path_lists={"programs": "/usr/bin/uptime"},
        trusted_files=("programs",),
    ),
    "start-services": BuiltIn("iot_jobs_handlers.services:START", template_list="services"),
    "stop-services": BuiltIn("iot_jobs_handlers.services:STOP", template_list="services"),
    "write-file": BuiltIn(
        "iot_jobs_handlers.write_file:HANDLER", path_lists={"roots": "/srv/data"}, writes_below="roots"
    ),
}
