"""A device with handlers to describe, and a worker that keeps a ledger of what it was asked."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.support.configs import config_of

from iot_jobs_agent.catalog.catalog import Catalog

STAND_IN = """\
    import json, os, sys
    specs = sys.argv[2:]
    with open({ledger!r}, "a") as ledger:
        print(json.dumps([sys.argv[1], specs, sorted(os.environ)]), file=ledger)
    told = json.load(open({told!r}))
    if any(told.get(spec) == "crash" for spec in specs):
        os.abort()
    print(json.dumps({{spec: told.get(spec, {{"error": "no module"}}) for spec in specs}}))
"""


class Device:
    """A state directory, a handler directory, and a worker whose answers are a file and whose calls leave a ledger."""

    def __init__(self, tmp_path: Path) -> None:
        self.handlers = tmp_path / "handlers"
        self.state = tmp_path / "state"
        self.ledger = tmp_path / "ledger"
        self.told = tmp_path / "told.json"
        self.handlers.mkdir()
        self.state.mkdir()
        self.ledger.touch()
        self.tell()
        worker = tmp_path / "worker.py"
        worker.write_text(textwrap.dedent(STAND_IN).format(ledger=str(self.ledger), told=str(self.told)))
        self.worker = (sys.executable, "-I", str(worker))

    def tell(self, **members: Any) -> None:
        write_file = {"name": "write-file", "timeout_s": 60, "max_timeout_s": 60, **members}
        answers = {
            "iot_jobs_handlers.write_file:HANDLER": write_file,
            "iot_jobs_handlers.run_command:HANDLER": {"name": "run-command", "may_reboot": True},
        }
        self.told.write_text(json.dumps(answers))

    def asked(self) -> list[list[str]]:
        return [json.loads(line)[1] for line in self.ledger.read_text().splitlines()]

    def install(self, name: str, text: str, *, mode: int = 0o755) -> Path:
        path = self.handlers / name
        draft = self.handlers.parent / "draft"
        draft.write_text(text)
        draft.chmod(mode)
        draft.replace(path)
        return path

    def catalog(self, *enabled: str, **sections: Any) -> Catalog:
        handlers = {"enabled": enabled, "directories": [str(self.handlers)], "run_as_users": ["kiosk"]}
        config = config_of(self.state, handlers=handlers, **sections)
        return Catalog(config, worker=self.worker, describe_timeout_s=5.0)


def describing(**manifest: Any) -> str:
    """A script that answers `describe` with these members."""
    return f"#!/bin/sh\n[ \"$1\" = describe ] && echo '{json.dumps(manifest)}'\n"
