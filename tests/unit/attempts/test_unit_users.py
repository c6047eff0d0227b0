"""A step that runs as a user of the device, in a unit of that user's: as whom, and that nobody takes its place."""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.units import UNIT, Units
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, Step, StepKind

if TYPE_CHECKING:
    from conftest import Story
    from tests.support.buses import Systemd

EXECUTION = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(EXECUTION, 0, 1)
FACTS = Facts(thing_name="thing-1")
ME = pwd.getpwuid(os.getuid()).pw_name
ID = "ab" * 16
GREETING = json.dumps({"invocation": ID}).encode()
SCRIPT = '#!/bin/sh\nid -u; echo "$* $HOME $USER $LOGNAME"; cat; cat "$JOB_SETTINGS_FILE"; echo "$JOB_ID"; ls -A\n'
NO_REPLY = {"Get": "org.freedesktop.DBus.Error.NoReply"}


@pytest.fixture
def config(systemd: "Systemd") -> Path:
    """Root's configuration, and a script, where every user gets to them."""
    (systemd.place / "who.sh").write_text(SCRIPT)
    (systemd.place / "who.sh").chmod(0o755)
    file = systemd.place / "config.toml"
    file.write_text(
        f'[handlers]\nlauncher = "units"\nenabled = ["who"]\ndirectories = ["{systemd.place}"]\n'
        f'run_as_users = ["{ME}", "nobody"]\n'
    )
    file.chmod(0o644)
    return file


def start(story: "Story", systemd: "Systemd", user: str) -> None:
    argv = (f"{systemd.place}/who.sh", user, "x")
    limits = {"timeout_s": 20.0, "max_timeout_s": 20.0, "grace_s": 0.5}
    story.attempts.start(ATTEMPT, Step("step", "who", StepKind.COMMAND, argv=argv, user=user, **limits), FACTS)


@pytest.mark.parametrize("user", [ME, "nobody"])
async def test_a_step_runs_as_its_user_with_that_users_home(
    unit_story: "Story", systemd: "Systemd", config: Path, user: str, as_nobody: object
) -> None:
    found = pwd.getpwnam(user)
    systemd.behave(uid=found.pw_uid, profiles={f"as-{user}": str(config)})
    start(unit_story, systemd, user)
    result = await unit_story.ended()
    assert (result.ending, result.reason, result.stderr) == (Ending.EXITED, "", "")
    expected = [str(found.pw_uid), f"{user} x {found.pw_dir} {user} {user}", "{}{}job-1", ".tmp"]
    assert result.stdout.splitlines() == expected
    [(_, unit, _)] = systemd.calls("StartUnit")
    assert unit == Units(unit_story.state, "network", {}).name(EXECUTION, "who", user)
    assert UNIT.fullmatch(unit)


async def test_what_roots_configuration_does_not_give_the_user_is_not_started(
    unit_story: "Story", systemd: "Systemd", config: Path
) -> None:
    config.write_text(config.read_text().replace(f'"{ME}"', '"other"'))
    systemd.behave(profiles={f"as-{ME}": str(config)})
    start(unit_story, systemd, ME)
    result = await unit_story.ended()
    assert result.ending is Ending.CANNOT_START
    assert result.reason == f"{config} does not list {ME!r} in handlers.run_as_users"


def test_the_units_of_users_with_any_name_are_units_of_handlers(tmp_path: Path) -> None:
    names = ["kiosk", "www-data", "_apt", "a_b-9", "x" * 32]
    found = {Units(tmp_path, "network", {"a": "packages"}).name(EXECUTION, "a", name) for name in names}
    assert len(found) == len(names)
    assert all(UNIT.fullmatch(name) for name in found)


class Impostor:
    """Another program of the user's, which connects in place of the first process."""

    def __init__(self, path: Path) -> None:
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer.settimeout(10.0)
        self.peer.connect(str(path))

    def given(self) -> dict[str, int]:
        """Return what it is given; nothing if it was sent away."""
        with contextlib.suppress(ConnectionResetError):
            message, descriptors, *_ = socket.recv_fds(self.peer, 4096, 16)
            return dict(zip(json.loads(message)["names"], descriptors, strict=True)) if message else {}
        return {}

    def passes_on(self, said: bytes) -> None:
        """Have a program with another pid send over the connection."""
        sends = f"import socket; socket.socket(fileno={self.peer.fileno()}).send({said!r})"
        subprocess.run([sys.executable, "-c", sends], pass_fds=[self.peer.fileno()], check=True)

    def close(self) -> None:
        self.peer.close()


@pytest.fixture
async def queued(unit_story: "Story", systemd: "Systemd", config: Path) -> Path:
    """The socket of an attempt whose unit is not started yet."""
    systemd.behave(is_queued=True)
    start(unit_story, systemd, ME)
    await systemd.called("StartUnit")
    return systemd.place / "sockets" / unit_name(unit_story).partition("@")[2].removesuffix(".service")


def unit_name(story: "Story") -> str:
    return Units(story.state, "network", {}).name(EXECUTION, "who", ME)


async def runs_yet(story: "Story", systemd: "Systemd", config: Path) -> bool:
    """Let the unit start; return whether its first process was let in."""
    systemd.behave(profiles={f"as-{ME}": str(config)})
    return (await story.ended()).stdout.startswith(f"{os.getuid()}\n")


@pytest.mark.parametrize(
    ("is_right", "said"),
    [
        (False, GREETING),
        (True, json.dumps({"invocation": "cd" * 16}).encode()),
        (True, b'{"invocation": ""}'),
        (True, b'{"invocation": null}'),
        (True, b"{}"),
        (True, b"[]"),
        (True, b"5"),
        (True, b"not JSON"),
        (True, b"[" * 4000),
        (True, b'{"status": 0}'),
    ],
)
async def test_another_program_of_the_user_gets_nothing_whatever_it_says(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path, said: bytes, *, is_right: bool
) -> None:
    systemd.behave(is_queued=True, main=[os.getpid() if is_right else os.getppid(), ID])
    with closing(Impostor(queued)) as impostor:
        impostor.peer.send(said)
        assert impostor.given() == {}
    assert await runs_yet(unit_story, systemd, config)


async def test_what_does_not_run_has_no_first_process(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path
) -> None:
    with closing(Impostor(queued)) as impostor:
        impostor.peer.send(b'{"invocation": ""}')
        assert impostor.given() == {}
    assert await runs_yet(unit_story, systemd, config)


async def test_the_first_process_is_let_in_by_its_pid_and_the_id_of_its_start(
    unit_story: "Story", systemd: "Systemd", queued: Path
) -> None:
    systemd.behave(is_queued=True, main=[os.getpid(), ID])
    with closing(Impostor(queued)) as silent, closing(Impostor(queued)) as real:
        real.peer.send(GREETING)
        given = real.given()
        assert silent.given() == {}
        assert given.keys() == {"spec", "job", "settings", "1", "2"}
        assert not queued.exists()
        for fd in given.values():
            os.close(fd)
        real.peer.send(b'{"status": 256, "result": {}, "reason": "", "traceback": "", "left": 0, "is_stopped": false}')
        systemd.behave(ended="invocation={invocation} result=success code=exited status=0 peak= limit_hits=\n")
        result = await unit_story.ended()
    assert (result.ending, result.code) == (Ending.EXITED, 1)


async def test_who_connected_does_not_count_but_who_sends(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path
) -> None:
    systemd.behave(is_queued=True, main=[os.getpid(), ID])
    with closing(Impostor(queued)) as impostor:  # its pid is right; that of the program that sends is not
        impostor.passes_on(GREETING)
        assert impostor.given() == {}
    assert await runs_yet(unit_story, systemd, config)


async def test_another_user_is_sent_away_even_with_the_right_pid(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path, as_nobody: object
) -> None:
    systemd.behave(is_queued=True, main=[os.getpid(), ID])
    with as_nobody():  # type: ignore[operator]
        impostor = Impostor(queued)
    with closing(impostor):
        with contextlib.suppress(BrokenPipeError):
            impostor.peer.send(GREETING)
        assert impostor.given() == {}
    assert await runs_yet(unit_story, systemd, config)


async def test_silent_connections_keep_nobody_out_and_are_closed(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path
) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(closing(Impostor(queued))) for _ in range(8)]
        early = stack.enter_context(closing(Impostor(queued)))
        assert silent[0].given() == {}  # the oldest had to go
        assert await runs_yet(unit_story, systemd, config)
        assert [each.given() for each in (*silent[1:], early)] == [{}] * 8


async def test_while_systemd_cannot_tell_which_process_is_the_first_one_it_waits(
    unit_story: "Story", systemd: "Systemd", config: Path
) -> None:
    behaviour = {"profiles": {f"as-{ME}": str(config)}}
    systemd.behave(errors=NO_REPLY, **behaviour)
    start(unit_story, systemd, ME)
    await systemd.called("Get")
    systemd.behave(**behaviour)
    assert (await unit_story.ended()).stdout.startswith(f"{os.getuid()}\n")


async def test_a_user_that_there_is_not_has_no_first_process(
    unit_story: "Story", systemd: "Systemd", config: Path, queued: Path
) -> None:
    start_of_nobody = AttemptId(EXECUTION, 0, 2)
    unit_story.attempts.stop(ATTEMPT)
    await unit_story.ended()
    systemd.behave(profiles={"as-no-such": str(config)})
    step = Step("step", "who", StepKind.COMMAND, argv=("/bin/true",), user="no-such", timeout_s=20.0)
    unit_story.attempts.start(start_of_nobody, step, FACTS)
    result = await unit_story.ended(start_of_nobody)
    assert result.ending is Ending.CANNOT_START
    assert "its unit ended as exit-code" in result.reason  # it was not let in


@pytest.fixture(autouse=True)
def _leaves_no_socket(systemd: "Systemd") -> Iterator[None]:
    yield
    assert list((systemd.place / "sockets").iterdir()) == []
