"""The built-in handlers: one table with everything that the agent knows about each. It imports none of them."""

from collections.abc import Mapping
from typing import NamedTuple


class BuiltIn(NamedTuple):
    """One built-in. `spec` is its `module:attribute`.

    `template_args` names, in order, the params that the args of AWS's managed template for the same work stand for;
    `template_list` names the param that takes all further args, as a list split at spaces. `path_lists` maps each
    setting that is a list of absolute paths to an example path for messages; `writes_below` is the setting among them
    that lists the directories below which the handler may write. `trusted_files` are the settings that name a file, or
    a list of files, which the handler runs or trusts. `uses_proxy` says that it sends HTTPS requests, and takes a
    setting `proxy`. `more_settings` are the settings that are not named otherwise.
    """

    spec: str
    template_args: tuple[str, ...] = ()
    template_list: str = ""
    path_lists: Mapping[str, str] = {}
    writes_below: str = ""
    trusted_files: tuple[str, ...] = ()
    uses_proxy: bool = False
    more_settings: tuple[str, ...] = ()

    @property
    def known_settings(self) -> frozenset[str]:
        """All settings that the handler reads."""
        return frozenset({*self.path_lists, *self.trusted_files, *self.more_settings, *(["proxy"] * self.uses_proxy)})


RUN_COMMAND = "run-command"
BUILT_INS: Mapping[str, BuiltIn] = {
    "collect-logs": BuiltIn(
        "iot_jobs_handlers.collect_logs:HANDLER",
        trusted_files=("ca_file",),
        uses_proxy=True,
        more_settings=("units", "journal_directory"),
    ),
    "download-file": BuiltIn(
        "iot_jobs_handlers.download_file:HANDLER",
        ("url", "path"),
        path_lists={"roots": "/srv/data"},
        writes_below="roots",
        trusted_files=("ca_file",),
        uses_proxy=True,
        more_settings=("max_mb",),
    ),
    "install-packages": BuiltIn(
        "iot_jobs_handlers.packages:INSTALL", template_list="packages", more_settings=("lock_timeout_s",)
    ),
    "reboot": BuiltIn("iot_jobs_handlers.reboot:HANDLER"),
    "remove-packages": BuiltIn(
        "iot_jobs_handlers.packages:REMOVE", template_list="packages", more_settings=("lock_timeout_s",)
    ),
    "restart-services": BuiltIn(
        "iot_jobs_handlers.services:RESTART", template_list="services", more_settings=("units", "settle_s")
    ),
    RUN_COMMAND: BuiltIn(
        "iot_jobs_handlers.run_command:HANDLER",
        path_lists={"programs": "/usr/bin/uptime"},
        trusted_files=("programs",),
    ),
    "start-services": BuiltIn(
        "iot_jobs_handlers.services:START", template_list="services", more_settings=("units", "settle_s")
    ),
    "stop-services": BuiltIn(
        "iot_jobs_handlers.services:STOP", template_list="services", more_settings=("units", "settle_s")
    ),
    "write-file": BuiltIn(
        "iot_jobs_handlers.write_file:HANDLER", path_lists={"roots": "/srv/data"}, writes_below="roots"
    ),
}
