"""Where our own code is installed: in an environment, or as an editable checkout."""

import importlib.util
import sys
from pathlib import Path

import iot_jobs_agent

# What `sys.path` needs for a process that is started without any site-packages (`python -I -S`).
ROOT = Path(iot_jobs_agent.__file__).parent.parent
_PACKAGES = ("iot_jobs_agent", "iot_jobs_handlers")


def handler_packages() -> list[str]:
    """Return the directories of Python packages that people add to an environment of ours for their handlers.

    A file of the environment lists them. They are on nobody's `sys.path` but the worker's: a package there could bring
    a module that some library imports if it is there, or a plug-in, and so run as the agent or as root. Blocks.
    """
    try:
        return Path(sys.prefix, "handler-packages").read_text().splitlines()
    except OSError:
        return []


def installation() -> tuple[Path, ...]:
    """Return the directories of the interpreter's environment and of our packages. Imports nothing. Blocks."""
    specs = [importlib.util.find_spec(package) for package in _PACKAGES]
    return (Path(sys.prefix), *(Path(spec.origin).parent for spec in specs if spec is not None and spec.origin))
