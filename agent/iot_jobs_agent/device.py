"""What this device is, as far as a job document may ask in its `conditions`. Blocking: reads a file the first time."""

import os
import platform
from collections.abc import Mapping

_KEYS = {"operatingSystem": "ID", "osVersion": "VERSION_ID"}  # os-release(5)


def device_facts() -> Mapping[str, str]:
    """Every fact by the key that conditions name it with; "" for one that the device does not say."""
    try:
        release = platform.freedesktop_os_release()
    except (OSError, ValueError):
        release = {}
    return {
        **{key: release.get(field, "") for key, field in _KEYS.items()},
        "architecture": os.uname().machine,
    }
