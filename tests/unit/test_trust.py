import os
from pathlib import Path

import pytest

from iot_jobs_agent.trust import trust_problem, way_to


@pytest.fixture
def handler(tmp_path: Path) -> Path:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    path = tmp_path / "outer" / "inner" / "handler"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_file_that_only_its_owner_can_change_is_trusted(handler: Path) -> None:
    assert trust_problem(handler) == ""


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o777])
def test_a_file_that_others_can_write_is_not(handler: Path, mode: int) -> None:
    handler.chmod(mode)
    assert trust_problem(handler) == f"{handler} is writable by others (mode 0{mode:o}); run `chmod go-w {handler}`"


@pytest.mark.parametrize("level", [0, 1])
def test_a_directory_that_others_can_write_spoils_all_below(handler: Path, level: int) -> None:
    handler.parents[level].chmod(0o777)
    assert f"{handler.parents[level]} is writable by others" in trust_problem(handler)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root-owned sticky directory")
def test_a_sticky_directory_passes_only_if_it_belongs_to_root(handler: Path) -> None:
    handler.parent.chmod(0o1777)
    assert trust_problem(handler) == ""
    os.chown(handler.parent, 12345, -1)
    assert "writable by others" in trust_problem(handler, owners=frozenset({0, 12345}))


def test_a_file_of_another_user_is_not_trusted(handler: Path) -> None:
    assert "belongs to user id" in trust_problem(handler, owners=frozenset())


def test_a_link_is_followed_and_the_way_to_its_target_looked_at(handler: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("outer/../outer/inner")
    assert trust_problem(link / "handler") == ""
    handler.parent.chmod(0o777)
    assert f"{handler.parent} is writable by others" in trust_problem(link / "handler")


def test_a_link_that_others_could_swap_is_not_trusted_whatever_it_leads_to(handler: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    link = tmp_path / "open" / "link"
    link.symlink_to(handler)
    assert trust_problem(link) == ""
    (tmp_path / "open").chmod(0o777)
    assert f"{tmp_path / 'open'} is writable by others" in trust_problem(link)
    assert f"{tmp_path / 'open'} is writable by others" in trust_problem(link, exempt=[handler.parent])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_another_user_is_not_trusted(handler: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(handler)
    os.chown(link, 12345, -1, follow_symlinks=False)
    assert trust_problem(link) == f"{link} belongs to user id 12345; run `chown -h root {link}`"


def test_our_own_installation_is_exempt_with_the_directories_above(handler: Path) -> None:
    handler.parents[1].chmod(0o777)
    handler.chmod(0o777)
    assert trust_problem(handler) != ""
    assert trust_problem(handler, exempt=[handler.parent]) == ""
    handler.chmod(0o755)
    assert trust_problem(handler, exempt=[handler.parent / "elsewhere"]) != ""


def test_a_loop_of_links_and_a_missing_file_are_reasons_not_errors(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be checked" in trust_problem(tmp_path / "loop")
    assert "cannot be checked (no such file or directory)" in trust_problem(tmp_path / "missing")


def test_the_way_to_what_is_not_there_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("none")
    way = way_to(tmp_path / "link/file")
    passed = [next(way)[0] for _ in (tmp_path / "link").parts]
    with pytest.raises(FileNotFoundError):
        next(way)
    assert passed[-2:] == [tmp_path, tmp_path / "link"]


def test_a_loop_of_links_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert trust_problem(tmp_path / "one") == f"{tmp_path / 'one'} cannot be checked (a loop of symbolic links)"


def test_the_way_to_a_relative_path_begins_at_the_root(handler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a file here would be judged as the one of that name below `/`."""
    monkeypatch.chdir(handler.parent)
    assert trust_problem(Path("handler")) == ""
    (handler.parent / "etc").mkdir()
    ours = handler.parent / "etc" / "passwd"
    ours.write_text("")
    ours.chmod(0o666)
    for path in (Path("etc/passwd"), Path("../inner/etc/passwd")):
        assert trust_problem(path) == f"{ours} is writable by others (mode 0666); run `chmod go-w {ours}`"
    assert [entry for entry, _ in way_to(Path("handler"))] == [entry for entry, _ in way_to(handler)]
