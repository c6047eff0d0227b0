"""The facts about this device that the `conditions` of a job document may name. Blocks: reads a file the first time."""

import os
import platform
from collections.abc import Mapping

_KEYS = {"operatingSystem": "ID", "osVersion": "VERSION_ID"}  # os-release(5)


def device_facts() -> Mapping[str, str]:
    """Return every fact by its key in `conditions`; "" for a fact that is not known."""
    try:
        release = platform.freedesktop_os_release()
    except (OSError, ValueError):
        release = {}
    return {
        **{key: release.get(field, "") for key, field in _KEYS.items()},
        "architecture": os.uname().machine,
    }
