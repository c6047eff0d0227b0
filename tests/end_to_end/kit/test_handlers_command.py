"""`iot-jobs-agent handlers`, as people run it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

COPY = """#!/bin/sh
[ "$1" = describe ] && cat <<END
{"name": "copy", "summary": "Copies.", "params": {"properties": {"from": {"type": "string", "description": "what"},
 "n": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null}, "x": {}, "odd": true}, "required": ["from"]}}
END
"""


@pytest.fixture
def config(author: Any, tmp_path: Path) -> Path:
    author.write("handlers/copy", COPY)
    author.write("handlers/broken", COPY, mode=0o644)
    author.write("handlers/idle", COPY)
    text = f"[handlers]\nenabled = ['copy', 'broken', 'gone', 'write-file']\ndirectories = ['{tmp_path}/handlers']\n"
    state = f"[agent]\nstate_directory = '{tmp_path}/state'\n"
    return author.write("config.toml", text + state)


def test_every_handler_is_listed_with_source_version_and_why_not(author: Any, config: Path, tmp_path: Path) -> None:
    done = author.run("handlers", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    listed = {each["name"]: each for each in json.loads(done.stdout)}
    enabled = {name for name, each in listed.items() if each["enabled"]}
    assert {"copy", "broken", "gone", "write-file"} == enabled
    assert {"idle", "run-command"} <= listed.keys() - enabled
    assert (listed["copy"]["source"], listed["copy"]["version"]) == (str(tmp_path / "handlers" / "copy"), "")
    assert listed["copy"]["params"]["required"] == ["from"]
    assert (listed["idle"]["params"], listed["idle"]["unavailable"]) == (None, "")
    own = author.run("--version").stdout.strip()
    assert (listed["write-file"]["source"], listed["write-file"]["version"]) == ("built in", own)
    assert "path" in listed["write-file"]["params"]["properties"]
    assert "is not executable by the agent" in listed["broken"]["unavailable"]
    assert "no file in handlers.directories has this name" in listed["gone"]["unavailable"]


def test_the_table_has_the_params_of_the_enabled_ones_and_what_is_wrong(author: Any, config: Path) -> None:
    lines = author.run("handlers", "--config", config).stdout.splitlines()
    assert lines[0].split() == ["NAME", "ENABLED", "VERSION", "SOURCE"]
    at = next(number for number, line in enumerate(lines) if line.startswith("copy "))
    assert lines[at].split()[1:3] == ["yes", "-"]
    assert lines[at + 1 : at + 5] == [
        "    Copies.",
        "    from: string, required, what",
        "    n: integer or null, default null",
        "    x: any, optional",
    ]
    assert any(line.startswith("    unavailable: ") for line in lines)


def test_what_a_handler_says_of_itself_cannot_spoil_the_table(author: Any, tmp_path: Path) -> None:
    author.write(
        "handlers/odd",
        r"""#!/bin/sh
[ "$1" = describe ] && cat <<END
{"summary": "a\ud800b\u001b[31m\nc"}
END
""",
    )
    text = f"[handlers]\nenabled = ['odd']\ndirectories = ['{tmp_path}/handlers']\n"
    config = author.write("config.toml", f"{text}[agent]\nstate_directory = '{tmp_path}/state'\n")
    done = author.run("handlers", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "    a?b [31m c" in done.stdout.splitlines()


def test_neither_a_file_nor_a_packages_metadata_can_spoil_the_table(
    author: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author.write("handlers/x\x1b[31my.sh", "#!/bin/sh\n")
    (tmp_path / "site").mkdir()
    author.write("site/odd-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: odd\x1b[2J\nVersion: 1\x1b[32m\n")
    points = "[iot_jobs_agent.handlers]\no\x1b[33mdd = odd\x1b[34m:HANDLER\n"
    author.write("site/odd-1.dist-info/entry_points.txt", points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    config = author.write("config.toml", f"[handlers]\ndirectories = ['{tmp_path}/handlers']\n")
    done = author.run("handlers", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "x\ufffd[31my.sh" in done.stdout
    assert re.search(r"^o\ufffd\[33mdd +no +1\ufffd\[32m +package odd\ufffd\[2J$", done.stdout, re.MULTILINE)
    assert done.stdout.replace("\n", "").isprintable()


def test_without_a_configuration_nothing_is_enabled(author: Any) -> None:
    done = author.run("handlers")
    assert done.returncode == 0
    assert re.search(r"^run-command +no ", done.stdout, re.MULTILINE)
    assert "no handler is enabled: there is no /etc/iot-jobs-agent/config.toml" in done.stdout


def test_a_configuration_that_is_named_has_to_be_there(author: Any, tmp_path: Path) -> None:
    done = author.run("handlers", "--config", tmp_path / "none.toml")
    assert (done.returncode, "does not exist" in done.stderr) == (78, True)
