"""Where our own code is installed: in an environment, or as an editable checkout."""

import importlib.util
import sys
from pathlib import Path

_PACKAGES = ("iot_jobs_agent", "iot_jobs_handlers")


def installation() -> tuple[Path, ...]:
    """Return the directories of the interpreter's environment and of our packages. Imports nothing. Blocks."""
    specs = [importlib.util.find_spec(package) for package in _PACKAGES]
    return (Path(sys.prefix), *(Path(spec.origin).parent for spec in specs if spec is not None and spec.origin))
