"""Where our own code lies: in an environment, or in a checkout that is installed editable."""

import importlib.util
import sys
from pathlib import Path

import iot_jobs_agent

# What `sys.path` needs for a process that is started without any site-packages (`python -I -S`).
ROOT = Path(iot_jobs_agent.__file__).parent.parent
_PACKAGES = ("iot_jobs_agent", "iot_jobs_handlers")


def installation() -> tuple[Path, ...]:
    """Return the directories that hold the interpreter's environment and our packages. Imports nothing. Blocking."""
    specs = [importlib.util.find_spec(package) for package in _PACKAGES]
    return (Path(sys.prefix), *(Path(spec.origin).parent for spec in specs if spec is not None and spec.origin))
