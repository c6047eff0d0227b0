"""download-file never puts together what does not belong together, and leaves no more than its limit."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_handlers.download_file import HANDLER
from iot_jobs_handlers.partial import Partial, drop_old

if TYPE_CHECKING:
    from conftest import Call, Ended, Web

DATA, OTHER = os.urandom(300_000), os.urandom(300_000)
FIRST = 100_000
Download = Callable[..., "Ended"]


@pytest.fixture
def download(call: "Call", web: "Web", tmp_path: Path) -> Download:
    web.files["/file"] = DATA
    (tmp_path / "root").mkdir()

    def run(**settings: object) -> "Ended":
        params = {"url": f"{web.origin}/file", "path": f"{tmp_path}/root/file"}
        return call(HANDLER, params, {"roots": [f"{tmp_path}/root"], "ca_file": web.ca_file, **settings})

    return run


@pytest.mark.parametrize(
    ("etag", "total"),
    [('"v2"', 300_000), ('W/"v1"', 300_000), (None, 300_000), ('"v1"', 300_001)],
    ids=["another validator", "a weak one", "none", "another total"],
)
def test_field_d1_a_part_of_another_version_is_not_combined(
    download: Download, web: "Web", tmp_path: Path, etag: str | None, total: int
) -> None:
    """The server breaks off after a part of the first version, and then ignores If-Range."""
    web.trouble(cut_after=FIRST)
    rest = (OTHER + b"x")[FIRST:total]
    headers = {"Content-Range": f"bytes {FIRST}-{total - 1}/{total}"} | ({"ETag": etag} if etag else {})
    web.trouble(status=206, headers=headers, body=rest)
    assert download().word == "succeeded"
    assert (tmp_path / "root" / "file").read_bytes() == DATA
    assert [request.headers.get("Range") for request in web.requests] == [None, f"bytes={FIRST}-", None]


@pytest.mark.parametrize("status", [200, 206])
def test_field_d1_an_encoding_that_was_not_asked_for_is_refused(download: Download, web: "Web", status: int) -> None:
    if status == 206:
        web.trouble(cut_after=FIRST)
    headers = {"Content-Encoding": "gzip", "ETag": '"v1"', "Content-Range": f"bytes {FIRST}-299999/300000"}
    web.trouble(status=status, headers=headers, body=b"\x1f\x8b")
    ended = download()
    assert (ended.word, "Content-Encoding" in ended.reason) == ("failed", True)


def test_field_d1_partial_files_of_others_are_kept_up_to_the_limit(download: Download, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(4):
        part = root / f".old-{number}.{number:08x}.part"
        part.write_bytes(bytes(400_000))
        part.with_name(f"{part.name}.json").write_text("{}")
        os.utime(part, (number, number))
    (root / ".mine.part").write_bytes(bytes(2_000_000))
    (root / ".mine.00000009.part").write_bytes(bytes(2_000_000))
    os.utime(root / ".mine.00000009.part", (0, 0))
    assert download(max_mb=1).word == "succeeded"
    assert sorted(each.name for each in root.iterdir()) == [
        ".mine.00000009.part",
        ".mine.part",
        *(f".old-{number}.{number:08x}.part{end}" for number in (2, 3) for end in ("", ".json")),
        "file",
    ]


def test_field_d1_partial_files_of_other_executions_in_other_roots_count_as_well(
    download: Download, tmp_path: Path
) -> None:
    for number in range(4):
        part = tmp_path / f"other-{number}" / f".old.{number:08x}.part"
        part.parent.mkdir()
        part.write_bytes(bytes(400_000))
        part.with_name(f"{part.name}.json").write_text("{}")
        os.utime(part, (number, number))
        job = tmp_path / f"job-{number}"
        job.mkdir()
        (job / "unfinished.json").write_text(json.dumps({"path": str(part), "device": 0, "inode": 0}))
    assert download(max_mb=1).word == "succeeded"
    assert sorted(each.parent.name for each in tmp_path.glob("other-*/.*.part")) == ["other-2", "other-3"]


def test_field_d1_a_partial_file_in_use_stays(tmp_path: Path) -> None:
    part = tmp_path / ".used.00000000.part"
    part.write_bytes(bytes(1000))
    part.with_name(f"{part.name}.json").write_text("{}")
    directory = os.open(tmp_path, os.O_RDONLY)
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_old(directory, ".other.00000001.part", 0)
        assert part.exists()
    drop_old(directory, ".other.00000001.part", 0)
    assert not part.exists()
    os.close(directory)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.write_text("[" * 60_000), lambda path: (path.touch(), os.truncate(path, 1 << 40))],
    ids=["a FIFO", "too deep", "without end"],
)
def test_a_note_that_another_user_has_put_there_is_neither_waited_for_nor_believed(
    download: Download, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    digest = hashlib.sha256(b"file").hexdigest()[:8]
    make(tmp_path / "root" / f".file.{digest}.part.json")
    assert download().word == "succeeded"
    assert (tmp_path / "root" / "file").read_bytes() == DATA


def test_its_note_names_no_query(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with Partial(directory, "file", "digest") as partial:
        partial.restart('"v1"')
        partial.write(b"abc")
        partial.keep()
    os.close(directory)
    (note,) = tmp_path.glob("*.json")
    assert json.loads(note.read_text()) == {"source": "digest", "etag": '"v1"', "size_bytes": 3, "total_bytes": None}
