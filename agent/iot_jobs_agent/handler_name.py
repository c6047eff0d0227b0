"""What the name of a handler may be: in the configuration, in documents, and as the name of a file."""

import re

HANDLER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_SUFFIXES = {".sh": "NAME.sh is the file of the handler NAME", ".manifest.json": "such a file is a manifest"}


def handler_name_problem(name: str) -> str:
    """Return why `name` cannot be the name of a handler, and what to do; "" if it can."""
    for suffix, why in _SUFFIXES.items():
        if name.endswith(suffix):
            return f"cannot be the name of a handler, since {why}; leave {suffix} out"
    if re.fullmatch(HANDLER_NAME, name):
        return ""
    return (
        "cannot be the name of a handler; use such a name as deploy, ota_update or Foo.py: "
        "at most 64 of A-Z a-z 0-9 _ . -, with a letter or digit first"
    )
