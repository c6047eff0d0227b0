"""Files in the state directory that only save work: one counts for nothing if it is not as its owner wrote it."""

import importlib.util
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from iot_jobs_agent.state.durable import open_regular, replace_durably
from iot_jobs_agent.trust import owner_of

LARGEST_BYTES = 16 << 20  # what is larger is not what we wrote
_NOT_PRIVATE = 0o077


def read_sealed(file: Path, owner: int) -> dict[str, Any]:
    """Return the JSON object that `write_sealed` has written as the user id `owner`; {} if there is none. Blocks.

    A file that is damaged, or that others may read or write, is none. It must belong to `owner`, as its directory must.
    """
    try:
        with open_regular(file) as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid != owner or stat.S_IMODE(status.st_mode) & _NOT_PRIVATE or owner_of(file.parent) != owner:
                return {}
            seal, _, text = opened.read(LARGEST_BYTES).partition(b"\n")
        found = json.loads(text) if seal == _seal(text) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_sealed(file: Path, value: dict[str, Any]) -> None:
    """Replace the file durably. Blocks. Ignores errors, since without it there is only more to do."""
    if owner_of(file.parent) == os.geteuid():
        with suppress(OSError, TypeError, ValueError, RecursionError):
            text = json.dumps(value).encode()
            replace_durably(file, _seal(text) + b"\n" + text)


def _seal(text: bytes) -> bytes:
    return importlib.util.source_hash(text).hex().encode()  # against damage only, and there without an import
