"""A hash of what decides whether a configuration or a manifest is valid: our models, pydantic, and Python."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

DEFINED_IN = (  # what the models are made of, and what turns them into plain values
    "built_ins.py", "catalog/manifest_check.py", "config/config.py", "config/encoding.py", "config/keys.py",
    "config/spelling.py", "config/validation.py", "config/values.py", "core/job.py", "core/value.py", "device.py",
    "errors.py", "handler.py", "handler_name.py", "shim/protocol.py",
)  # fmt: skip


@cache
def definition_hash() -> str:
    """Return the hash, "" if that cannot be told. The first call reads some files: 1 ms. Imports nothing."""
    pydantic = importlib.util.find_spec("pydantic")
    if pydantic is None or pydantic.origin is None:
        return ""
    here = Path(__file__).parent
    files = [*(here / name for name in DEFINED_IN), Path(pydantic.origin).with_name("version.py")]
    try:
        parts = [sys.version.encode(), *(file.read_bytes() for file in files)]
    except OSError:
        return ""
    return hash_of(*parts)


def hash_of(*parts: bytes) -> str:
    """Return a hash that tells texts apart which nobody has made to look alike, as Python tells its source files apart.

    Whoever could make two configurations alike may write the configuration. `hashlib` would take 0.4 MB.
    """
    whole = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return importlib.util.source_hash(whole).hex()
