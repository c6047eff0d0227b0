"""`setup` writes all or nothing, keeps what is there, and starts only what `check` finds good."""

import asyncio
import os
import pty
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from agents import THING, run

from iot_jobs_simulator.server import RunningSimulator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets a device up")
NAMES = {"certificate": "certificate.pem", "private-key": "private.key", "root-ca": "root-ca.pem"}
Words = list[str]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The directory of the configuration, as the package makes it."""
    (tmp_path / "etc" / "credentials").mkdir(parents=True, mode=0o700)
    return tmp_path / "etc"


@pytest.fixture
def given(sim: RunningSimulator, thing: str, etc: Path) -> Words:
    """What a person gives; nothing is started on the machine of the tests."""
    files = {"certificate": "client.pem", "private-key": "client.key", "root-ca": "ca.pem"}
    words = ["--config", f"{etc}/config.toml", "--no-start", "--offline", "--endpoint", "localhost", "--thing", THING]
    words += ["--port", str(sim.mqtts_port), "--https-port", str(sim.https_port)]
    return words + [word for key, name in files.items() for word in (f"--{key}", f"{sim.certificates}/{name}")]


def state_of(etc: Path) -> dict[str, tuple[bytes, int]]:
    """Everything below the directory: contents and modes."""
    return {
        str(path.relative_to(etc)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(etc.rglob("*"))
        if path.is_file()
    }


def without(words: Words, option: str) -> Words:
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def online(words: Words) -> Words:
    return [word for word in words if word != "--offline"]


def with_other(words: Words, option: str, value: object) -> Words:
    return [*without(words, option), option, str(value)]


async def test_a_device_is_set_up_and_found_good(etc: Path, given: Words, sim: RunningSimulator) -> None:
    done = await run("setup", *online(given))
    assert f"wrote  {etc}/config.toml" in done.stdout
    assert f"note   delete {sim.certificates}/client.key and all other copies" in done.stdout
    assert "lets pi-kitchen-1 subscribe and ask for jobs" in done.stdout
    files = state_of(etc)
    assert {name: mode for name, (_, mode) in files.items() if name != "config.toml"} == {
        f"credentials/{name}": 0o600 for name in NAMES.values()
    }
    assert files["config.toml"][1] in {0o600, 0o640}
    assert files["credentials/private.key"][0] == (sim.certificates / "client.key").read_bytes()
    assert tomllib.loads(files["config.toml"][0].decode())["aws"]["port"] == sim.mqtts_port


async def test_a_second_run_keeps_what_is_there_and_says_so(etc: Path, given: Words) -> None:
    await run("setup", *given)
    before = state_of(etc)
    for words in (given, given[:4]):
        done = await run("setup", *words)
        assert [line for line in done.stdout.splitlines() if line.startswith("wrote")] == []
        assert f"kept   {etc}/credentials/private.key" in done.stdout
        assert state_of(etc) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given, _: with_other(given, "--thing", "another"), "with another thing_name: add --force"),
        (lambda given, other: with_other(given, "--root-ca", other), "root-ca.pem is there already and is not"),
    ],
)
async def test_what_differs_is_replaced_only_with_force(
    etc: Path, given: Words, sim: RunningSimulator, change: Callable[[Words, Path], Words], said: str
) -> None:
    await run("setup", *given)
    (etc / "config.toml").write_text((etc / "config.toml").read_text() + "\n# by hand\n[operations]\n")
    other = etc.parent / "other.pem"
    other.write_bytes(b"\n" + (sim.certificates / "ca.pem").read_bytes())
    before = state_of(etc)
    words = change(given, other)
    refused = await run("setup", *words)
    assert (refused.returncode, state_of(etc)) == (1, before)
    assert said in refused.stderr
    await run("setup", *words, "--force")
    after = state_of(etc)
    assert after != before
    assert b"# by hand" in after["config.toml"][0]


async def test_a_key_of_another_certificate_changes_nothing(etc: Path, given: Words, tmp_path: Path) -> None:
    key = tmp_path / "key"
    trustme.CA().issue_cert("pi-kitchen-1").private_key_pem.write_to_path(str(key))
    refused = await run("setup", *with_other(given, "--private-key", key))
    assert refused.returncode == 78
    assert str(key) in refused.stderr
    assert ".setup-" not in refused.stderr
    assert refused.stderr.endswith("Nothing was changed.\n")
    assert state_of(etc) == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--endpoint", "https://x", "aws.endpoint: "),
        ("--port", "70000", "aws.port: "),
        ("--certificate", "/nonexistent", "/nonexistent cannot be read (no such file or directory): correct --certif"),
        ("--certificate", "/etc/passwd", "/etc/passwd holds no PEM certificate"),
    ],
)
async def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    etc: Path, given: Words, option: str, value: str, said: str
) -> None:
    refused = await run("setup", *with_other(given, option, value))
    assert refused.returncode == (78 if said.startswith("aws") or value == "/etc/passwd" else 1)
    assert said in refused.stderr
    assert [*etc.iterdir()] == [etc / "credentials"]
    assert state_of(etc) == {}


@pytest.mark.parametrize("name", ["a\udcff", "a\x7fb", "küche"])
async def test_a_name_that_no_thing_has_is_refused_by_its_option(etc: Path, given: Words, name: str) -> None:
    refused = await run("setup", *with_other(given, "--thing", name))
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert "--thing holds a character that no such name has: correct it" in refused.stderr
    assert state_of(etc) == {}


async def test_the_private_key_is_written_through_no_link_and_to_no_place_of_others(
    etc: Path, given: Words, tmp_path: Path
) -> None:
    (tmp_path / "evil").mkdir()
    (etc / "credentials").rmdir()
    (etc / "credentials").symlink_to(tmp_path / "evil")
    refused = await run("setup", *given)
    assert "is not a directory of its own: move it away" in refused.stderr
    (etc / "credentials").unlink()
    (etc / "credentials").mkdir()
    os.chown(etc / "credentials", 65534, -1)
    refused = await run("setup", *given)
    assert "credentials belongs to user id 65534; run `chown -h root" in refused.stderr
    assert not list((tmp_path / "evil").iterdir())
    assert state_of(etc) == {}


@pytest.mark.parametrize("option", ["--endpoint", "--thing", "--certificate", "--private-key", "--root-ca"])
async def test_without_a_terminal_the_missing_option_is_named(etc: Path, given: Words, option: str) -> None:
    refused = await run("setup", *without(given, option))
    assert refused.returncode == 1
    assert f"is missing: add {option}" in refused.stderr
    assert state_of(etc) == {}


async def test_a_check_that_fails_is_the_end_and_what_was_written_stays(etc: Path, given: Words) -> None:
    done = await run("setup", *online(with_other(given, "--port", 1)))
    assert done.returncode == 1
    assert "port 1 cannot be reached" in done.stdout
    assert "The agent was not started" in done.stdout
    assert "credentials/private.key" in state_of(etc)


async def test_a_person_is_asked_for_what_is_missing(etc: Path, given: Words) -> None:
    fd, other = pty.openpty()
    command = [sys.executable, "-m", "iot_jobs_agent", "setup", *without(given, "--thing")]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=other, stdout=pipe, stderr=pipe)
    os.close(other)
    os.write(fd, f"{THING}\n".encode())
    said = b"".join(await process.communicate()).decode()
    os.close(fd)
    assert "the name of the thing: " in said
    assert f'thing_name = "{THING}"' in (etc / "config.toml").read_text()


async def test_a_configuration_in_an_unusual_form_is_left_alone(etc: Path, given: Words) -> None:
    await run("setup", *given)
    text = (etc / "config.toml").read_text()
    (etc / "config.toml").write_text(text.replace('thing_name = "', '"thing_name" = "'))
    before = state_of(etc)
    refused = await run("setup", *with_other(given, "--thing", "another"), "--force")
    assert refused.returncode == 78
    assert "cannot be changed: its [aws] is written in an unusual way; edit it" in refused.stderr
    assert state_of(etc) == before
