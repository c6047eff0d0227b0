"""field-a1: what root's commands do in a state directory that a handler can write to."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

NOBODY = 65534
# Without the kernel's fixing, a process that becomes another user keeps root's rights to read (so that it finds this
# checkout's Python) and to write: a file that is left alone is left alone on purpose.
AGENT = ["setpriv", "--securebits", "+no_setuid_fixup", sys.executable, "-m", "iot_jobs_agent"]
GREET = '#!/bin/sh\n[ "$1" = describe ] && { id -u >> LEDGER; echo \'{"name": "greet"}\'; }\nexit 0\n'
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="install util-linux"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A configuration and a handler of root's, a state directory of nobody's, and a file that is root's alone."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)
        handlers, state, files = place / "handlers", place / "state", place / "pem"
        for directory in (handlers, state, files):
            directory.mkdir(mode=0o755)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        (files / "ca.pem").write_bytes(authority.cert_pem.bytes())
        (files / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (files / "key.pem").write_bytes(issued.private_key_pem.bytes())
        (files / "key.pem").chmod(0o600)
        ledger = place / "ledger"
        ledger.touch()
        ledger.chmod(0o666)
        (handlers / "greet").write_text(GREET.replace("LEDGER", str(ledger)))
        (handlers / "greet").chmod(0o755)
        (place / "config.toml").write_text(
            f'[aws]\nendpoint = "localhost"\nthing_name = "pi"\ncertificate = "{files}/cert.pem"\n'
            f'private_key = "{files}/key.pem"\nroot_ca = "{files}/ca.pem"\n[agent]\nstate_directory = "{state}"\n'
            f'[handlers]\nenabled = ["greet"]\ndirectories = ["{handlers}"]\n'
        )
        (place / "params.json").write_text("{}")
        state.chmod(0o700)
        os.chown(state, NOBODY, NOBODY)
        (place / "victim").write_text("precious")
        (place / "victim").chmod(0o600)
        for name in ("manifests.new", ".manifests.json.new", ".status.json.new", "paused", "agent-id", "agent.lock"):
            (state / name).symlink_to(place / "victim")
        yield place


def run(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    config = ["--config", str(place / "config.toml")]
    return subprocess.run([*AGENT, *words, *config], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["check", "--offline"], 0),
        (["handlers"], 0),
        (["try", "greet", "params.json"], 0),
        (["status"], 73),
        (["jobs"], 73),
        (["pause"], 0),
        (["resume"], 0),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_field_a1_a_command_of_roots_writes_and_runs_nothing_as_root(
    place: Path, words: list[str], status: int
) -> None:
    words = [str(place / word) if word.endswith(".json") else word for word in words]
    done = run(place, *words)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert (place / "victim").read_text() == "precious"
    asked = set((place / "ledger").read_text().split())
    assert asked <= {str(NOBODY)}
    if words[0] in {"check", "handlers", "try"}:
        assert asked == {str(NOBODY)}, "the handler was asked, as the owner"
    left = [path for path in (place / "state").iterdir() if not path.is_symlink() and path.lstat().st_uid != NOBODY]
    assert left == []


def test_field_a1_pause_and_resume_work_for_root(place: Path) -> None:
    (place / "state" / "paused").unlink()
    assert run(place, "pause").returncode == 0
    assert (place / "state" / "paused").lstat().st_uid == NOBODY
    assert run(place, "resume").stdout == "resumed\n"
    assert not (place / "state" / "paused").exists()


def test_field_a1_another_user_who_may_write_there_leaves_nothing_either(place: Path) -> None:
    """Not the owner, not root: the answer of the handlers is shown, and kept by nobody."""
    (place / "state").chmod(0o777)
    for name in ("manifests.new", ".manifests.json.new"):
        (place / "state" / name).unlink()
    other = [
        "setpriv",
        "--reuid=1234",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]
    config = str(place / "config.toml")
    words = [*other, sys.executable, "-m", "iot_jobs_agent", "handlers", "--json", "--config", config]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert json.loads(done.stdout), done.stderr
    assert {path.name for path in (place / "state").iterdir()} & {"manifests.json", ".manifests.json.new"} == set()


def test_an_agent_that_root_starts_on_anothers_directory_is_refused(place: Path) -> None:
    done = run(place, "run", "--once", "--timeout", "5")
    assert (done.returncode, "start the agent as that user" in done.stderr) == (73, True), done.stderr
    assert (place / "victim").read_text() == "precious"
