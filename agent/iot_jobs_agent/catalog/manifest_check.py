"""Checks manifests with pydantic, in a process of its own if asked to: JSON on stdin, and the answers on stdout.

    python -I -m iot_jobs_agent.catalog.manifest_check

`catalog.checks` calls it, since nothing that the running agent imports may import pydantic.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from iot_jobs_agent.handler import Manifest


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's `members`, or those of one that only has the name, with what is the `problem`."""
    try:
        return {"members": dict(Manifest.model_validate(values)), "problem": ""}
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        member = ".".join(map(str, detail["loc"]))
        problem = f"its manifest is wrong at {member}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
        return {"members": dict(Manifest(name=values["name"])), "problem": problem}


def main() -> None:
    """Read a list of manifests, and write the list of answers."""
    json.dump([checked(values) for values in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
