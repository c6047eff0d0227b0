import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from iot_jobs_agent.handler import HandlerError, Job, Outcome
from iot_jobs_handlers.write_file import HANDLER, Params, write_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def job(tmp_path: Path, settings: object) -> Job:
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return Job(
        {
            "JOB_ID": "job-1",
            "JOB_PHASE": "run",
            "JOB_DIR": str(tmp_path),
            "JOB_CONTROL_FD": "3",
            "JOB_SETTINGS_FILE": str(tmp_path / "settings.json"),
        }
    )


def written(root: Path, **params: str) -> Outcome:
    return write_file(Params.model_validate(params), job(root.parent, {"roots": [str(root)]}))


def test_a_file_is_written_and_told(root: Path) -> None:
    assert written(root, path=f"{root}/file", content="ä\n") == Outcome.succeeded(size_bytes=3)
    assert (root / "file").read_bytes() == b"\xc3\xa4\n"
    assert [path.name for path in root.iterdir()] == ["file"]


def test_bytes_come_as_base64(root: Path) -> None:
    written(root, path=f"{root}/file", content_base64="AP8=")
    assert (root / "file").read_bytes() == b"\0\xff"


@pytest.mark.parametrize(("mode", "given"), [(None, 0o644), ("600", 0o600), ("0755", 0o755)])
def test_a_new_file_has_the_mode_that_was_asked_for(root: Path, mode: str | None, given: int) -> None:
    written(root, path=f"{root}/file", content="", **({"mode": mode} if mode else {}))
    assert (root / "file").stat().st_mode & 0o7777 == given


def test_an_old_file_keeps_its_mode(root: Path) -> None:
    (root / "file").write_text("old")
    (root / "file").chmod(0o640)
    written(root, path=f"{root}/file", content="new")
    assert (root / "file").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{root}", "{root}/", "{root}x/file", "{root}/../file", "{root}/a/../../file"]
)
def test_a_path_that_is_not_below_a_root_is_rejected(root: Path, path: str) -> None:
    assert written(root, path=path.format(root=root), content="x").kind == "rejected"
    assert not (root.parent / "file").exists()


def test_a_link_on_the_way_is_rejected_and_not_followed(root: Path) -> None:
    (root.parent / "outside").mkdir()
    (root / "link").symlink_to(root.parent / "outside")
    outcome = written(root, path=f"{root}/link/file", content="x")
    assert outcome.kind == "rejected"
    assert "symbolic link" in outcome.reason
    assert list((root.parent / "outside").iterdir()) == []


def test_a_link_in_the_files_place_is_replaced_and_not_followed(root: Path) -> None:
    (root.parent / "outside").write_text("kept")
    (root / "file").symlink_to(root.parent / "outside")
    written(root, path=f"{root}/file", content="x")
    assert (root.parent / "outside").read_text() == "kept"
    assert (root / "file").read_text() == "x"
    assert not (root / "file").is_symlink()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/file", "No such file"), ("file/file", "Not a directory"), ("directory", "Is a directory")],
)
def test_what_the_device_lacks_is_its_own_failure(root: Path, path: str, reason: str) -> None:
    (root / "file").write_text("old")
    (root / "directory").mkdir()
    with pytest.raises(HandlerError, match=reason):
        written(root, path=f"{root}/{path}", content="x")
    assert sorted(path.name for path in root.iterdir()) == ["directory", "file"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"content": "x", "content_base64": ""},
        {"content": "x", "mode": "4755"},
        {"content": "x", "mode": "9"},
        {"content": "x", "path": "a"},
        {"content": "x", "path": "/a\0b"},
    ],
)
def test_params_that_are_not_valid_are_not_accepted(params: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Params.model_validate({"path": "/a", **params})


@pytest.mark.parametrize("params", [{"content_base64": "?"}, {"content_base64": "\xe9"}, {"content": "\ud800"}])
def test_content_that_cannot_be_decoded_is_rejected_by_its_member(root: Path, params: dict[str, str]) -> None:
    unchecked = {"path": f"{root}/f", "mode": None, "content": None, "content_base64": None} | params
    outcome = write_file(Params.model_construct(None, **unchecked), job(root.parent, {"roots": [str(root)]}))
    assert (outcome.kind, outcome.reason.split(": ")[0]) == ("rejected", *params)


@pytest.mark.parametrize("roots", ["/", ["relative"], [1]])
def test_wrong_roots_are_the_devices_fault(root: Path, roots: object) -> None:
    with pytest.raises(HandlerError, match="list of absolute paths"):
        write_file(Params(path=f"{root}/f", content=""), job(root.parent, {"roots": roots}))


def test_without_roots_nothing_is_allowed(root: Path) -> None:
    assert write_file(Params(path=f"{root}/f", content=""), job(root.parent, {})).kind == "rejected"


def test_it_says_what_it_is() -> None:
    assert HANDLER.manifest.name == "write-file"


def test_links_of_roots_on_the_way_to_a_root_are_followed_and_those_of_another_user_are_not(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's link")
    (there := root / "there" / "files").mkdir(parents=True)
    (above := root / "above").mkdir()
    (above / "relative").symlink_to("../there")
    (above / "absolute").symlink_to(above / "relative" / "files")
    (above / "loop").symlink_to("loop")
    (above / "others").symlink_to(there)
    os.chown(above / "others", 65534, 65534, follow_symlinks=False)
    for name in ("relative/files", "absolute"):
        written(above / name, path=f"{above}/{name}/file", content=name)
        assert (there / "file").read_text() == name
    outcome = written(above / "others", path=f"{above}/others/file", content="x")
    assert (outcome.kind, (there / "file").read_text()) == ("rejected", "absolute")
    assert f"the way to the root {above}/others has a symbolic link of user id 65534" in outcome.reason
    with pytest.raises(HandlerError, match="Too many levels of symbolic links"):
        written(above / "loop", path=f"{above}/loop/file", content="x")
