"""What a job document may name of this device: the facts for its `conditions`, and the forms of some names."""

import os
import platform
from collections.abc import Mapping

USER_NAME = r"^[a-z_][a-z0-9_-]{0,31}$"  # as useradd(8) makes them
PROFILE_NAME = r"^[a-z][a-z0-9-]{0,31}$"  # of a unit in which handlers run: iot-job-PROFILE@.service
AS_USER = "as-"  # before a user's name: the profile of steps that run as that user
_KEYS = {"operatingSystem": "ID", "osVersion": "VERSION_ID"}  # os-release(5)


def device_facts() -> Mapping[str, str]:
    """Return every fact by its key in `conditions`; "" for a fact that is not known. Blocks: reads a file at first."""
    try:
        release = platform.freedesktop_os_release()
    except (OSError, ValueError):
        release = {}
    return {
        **{key: release.get(field, "") for key, field in _KEYS.items()},
        "architecture": os.uname().machine,
    }
