"""The lock, the id and the status file, on a real disk."""

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state.durable import replace_at_once, replace_durably


def test_the_directory_is_made_for_the_agents_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    state_directory.prepare(directory)
    state_directory.prepare(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_was_made_survives_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = set(), os.fsync

    def seen(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", seen)
    state_directory.prepare(tmp_path / "a" / "b")
    assert synced == {tmp_path, tmp_path / "a"}


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirectoryError, match="file/state cannot be made"):
        state_directory.prepare(tmp_path / "file" / "state")


def test_only_one_agent_holds_the_directory(tmp_path: Path) -> None:
    assert not state_directory.is_locked(tmp_path)
    held = state_directory.lock(tmp_path)
    assert state_directory.is_locked(tmp_path)
    with pytest.raises(StateDirectoryError, match="another agent runs on"):
        state_directory.lock(tmp_path)
    state_directory.unlock(held)
    assert not state_directory.is_locked(tmp_path)
    state_directory.unlock(state_directory.lock(tmp_path))


def test_who_only_looks_keeps_no_agent_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_directory.unlock(state_directory.lock(tmp_path))
    looker = os.open(tmp_path / state_directory.LOCK, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    monkeypatch.setattr("select.select", lambda *_: os.close(looker))  # while the agent pauses, the other is done
    held = state_directory.lock(tmp_path)
    monkeypatch.undo()
    with pytest.raises(StateDirectoryError):
        state_directory.lock(tmp_path)
    state_directory.unlock(held)


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateDirectoryError, match="cannot be opened"):
        state_directory.lock(tmp_path / "not-there")


def test_field_c3_two_agents_that_find_a_broken_lock_at_once_do_not_both_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has seen the broken lock, and comes to repair it when the first one holds the new one."""
    (tmp_path / state_directory.LOCK).mkdir()
    first: list[int] = []
    held = state_directory._held

    def late(directory: Path) -> Any:
        if not first:
            first.append(-1)
            first[0] = state_directory.lock(tmp_path)
        return held(directory)

    monkeypatch.setattr(state_directory, "_held", late)
    with pytest.raises(StateDirectoryError, match="another agent runs"):
        state_directory.lock(tmp_path)
    state_directory.unlock(first[0])


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_field_c3_what_can_be_no_lock_is_moved_aside(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / state_directory.LOCK)
    held = state_directory.lock(tmp_path)
    assert (tmp_path / state_directory.LOCK).is_file()
    assert state_directory.is_locked(tmp_path)
    state_directory.unlock(held)


def test_the_id_is_made_once(tmp_path: Path) -> None:
    made = state_directory.agent_id(tmp_path)
    assert len(made) == 16
    assert state_directory.agent_id(tmp_path) == made


def test_two_installations_have_two_ids(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert state_directory.agent_id(tmp_path / "a") != state_directory.agent_id(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nlines", b"x" * 65, b"\0" * 16])
def test_a_damaged_id_is_replaced_and_the_new_one_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / state_directory.AGENT_ID).write_bytes(content)
    made = state_directory.agent_id(tmp_path)
    assert len(made) == 16
    assert state_directory.agent_id(tmp_path) == made


def test_an_id_that_cannot_be_read_or_made_is_named(tmp_path: Path) -> None:
    (tmp_path / state_directory.AGENT_ID).mkdir()
    with pytest.raises(StateDirectoryError, match="agent-id cannot be read"):
        state_directory.agent_id(tmp_path)
    with pytest.raises(StateDirectoryError, match="agent-id cannot be written"):
        state_directory.agent_id(tmp_path / "missing")


def test_the_journals_that_were_lost_are_known_whichever_is_there_now(tmp_path: Path) -> None:
    assert state_directory.lost_journals(tmp_path, "0000000a") == frozenset()
    assert state_directory.lost_journals(tmp_path, "0000000b") == {"0000000a"}
    assert state_directory.lost_journals(tmp_path, "0000000a") == {"0000000b"}
    assert (tmp_path / state_directory.JOURNAL_IDS).read_text() == "0000000a\n0000000b\n"


def test_only_the_last_journals_are_known(tmp_path: Path) -> None:
    for number in range(70):
        state_directory.lost_journals(tmp_path, f"{number:08x}")
    assert state_directory.lost_journals(tmp_path, "ffffffff") == {f"{number:08x}" for number in range(7, 70)}


def test_damaged_ids_of_journals_are_dropped(tmp_path: Path) -> None:
    (tmp_path / state_directory.JOURNAL_IDS).write_bytes(b"0000000a\n\xff\n0000000\n0000000b")
    assert state_directory.lost_journals(tmp_path, "0000000c") == {"0000000a", "0000000b"}
    assert state_directory.lost_journals(tmp_path, "0000000c") == {"0000000a", "0000000b"}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_ids_of_journals_that_are_not_a_file_are_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / state_directory.JOURNAL_IDS)
    with pytest.raises(StateDirectoryError, match=r"journal-ids cannot be read .* or move it away"):
        state_directory.lost_journals(tmp_path, "0000000a")


def test_a_directory_serves_one_thing_only(tmp_path: Path) -> None:
    state_directory.refuse_another_thing(tmp_path, "lamp")
    state_directory.refuse_another_thing(tmp_path, "lamp")
    with pytest.raises(StateDirectoryError, match=r"knows the jobs of the thing lamp: .* or give pump an agent\.state"):
        state_directory.refuse_another_thing(tmp_path, "pump")
    (tmp_path / state_directory.THING_NAME).write_bytes(b"\xff\0 no name")
    state_directory.refuse_another_thing(tmp_path, "pump")
    assert (tmp_path / state_directory.THING_NAME).read_text() == "pump\n"


def test_a_fifo_in_place_of_the_status_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / state_directory.STATUS)
    with pytest.raises(StateDirectoryError, match="is damaged: restart the agent"):
        state_directory.read_status(tmp_path)


def test_a_status_without_end_is_damaged_and_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / state_directory.STATUS).touch()
    os.truncate(tmp_path / state_directory.STATUS, 1 << 40)
    with pytest.raises(StateDirectoryError, match="is damaged: restart the agent"):
        state_directory.read_status(tmp_path)


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    state_directory.write_status(tmp_path, {"a": ["\ud800", 1.5, None]})
    state_directory.write_status(tmp_path, {"a": ["☃", 1.5, None]})
    assert state_directory.read_status(tmp_path) == {"a": ["☃", 1.5, None]}
    assert [path.name for path in tmp_path.iterdir()] == [state_directory.STATUS]


def test_a_status_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateDirectoryError, match="has the agent run here"):
        state_directory.read_status(tmp_path)
    for content in (b"", b"{", b"\xff"):
        (tmp_path / state_directory.STATUS).write_bytes(content)
        with pytest.raises(StateDirectoryError, match="is damaged: restart the agent"):
            state_directory.read_status(tmp_path)
    (tmp_path / state_directory.STATUS).unlink()
    (tmp_path / state_directory.STATUS).mkdir()
    with pytest.raises(StateDirectoryError, match="is damaged"):
        state_directory.read_status(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_field_c3_an_agent_id_that_is_not_a_file_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "agent-id")
    with pytest.raises(StateDirectoryError, match=r"agent-id cannot be read .* or move it away"):
        state_directory.agent_id(tmp_path)


def test_a_user_who_may_not_see_whether_an_agent_runs_is_told_so(tmp_path: Path, as_nobody: Callable[..., Any]) -> None:
    held = state_directory.lock(tmp_path)
    with as_nobody(), pytest.raises(StateDirectoryError, match="run the command with sudo, or as the agent's user"):
        state_directory.is_locked(tmp_path)
    state_directory.unlock(held)


def test_field_a3_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state_directory.prepare(state)
    for mode in (0o777, 0o770, 0o702):
        state.chmod(mode)
        with pytest.raises(StateDirectoryError, match=f"is writable by others .*chmod 700 {state}"):
            state_directory.prepare(state)
    state.chmod(0o755)
    state_directory.prepare(state)


def test_a_state_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    state = tmp_path / "state"
    state_directory.prepare(state)
    os.chown(state, 65534, 65534)
    with pytest.raises(StateDirectoryError, match="belongs to user id 65534: start the agent as that user"):
        state_directory.prepare(state)


def test_a_link_in_the_place_of_a_file_that_is_being_written_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for write in (replace_at_once, replace_durably):
        (tmp_path / ".file.new").symlink_to(victim)
        write(tmp_path / "file", b"new")
        assert (victim.read_text(), (tmp_path / "file").read_text()) == ("precious", "new")
