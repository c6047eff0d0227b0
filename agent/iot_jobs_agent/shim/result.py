"""Reads the result file that a handler wrote (docs/handlers.md)."""

from __future__ import annotations

import os
import stat

from iot_jobs_agent.shim.lean import loads
from iot_jobs_agent.shim.protocol import RESULT_BYTES

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from typing import Any


def handler_result(path: str) -> dict[str, Any]:
    """Read the handler's result file and return it as a member of `result.json`. The file may contain anything."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {"bad_result": f"the result file cannot be read: {error.strerror}"}
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return {"bad_result": "the result file is not a regular file"}
        data = os.read(fd, RESULT_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > RESULT_BYTES:
        return {"bad_result": f"the result file is longer than {RESULT_BYTES} bytes"}
    try:
        text = data.decode()
        is_object = isinstance(loads(text), dict)
    except (ValueError, RecursionError):
        return {"bad_result": "the result file is not JSON"}
    return {"handler_result": text} if is_object else {"bad_result": "the result file is not a JSON object"}
