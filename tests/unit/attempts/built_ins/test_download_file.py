"""download-file against a real server, in a process of its own."""

import asyncio
import errno
import hashlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from tests.support.proxies import running_proxy

from iot_jobs_handlers.download_file import HANDLER, Params

if TYPE_CHECKING:
    from conftest import Call, Ended, Story, Web, Work

SECRET = "X-Amz-Signature=5ecret"
DATA = os.urandom(3_000_000)
OTHER = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
Download = Callable[..., "Ended"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def download(call: "Call", web: "Web", root: Path, tmp_path: Path) -> Download:
    web.files["/file"] = DATA

    def run(settings: dict[str, object] | None = None, **params: object) -> "Ended":
        document = {"url": f"{web.origin}/file?{SECRET}", "path": f"{root}/file"} | params
        known = {"roots": [str(root)], "ca_file": web.ca_file} | (settings or {})
        ended = call(HANDLER, document, known)
        assert SECRET not in repr(ended) + (tmp_path / "told").read_text()
        return ended

    return run


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def ranges(web: "Web") -> list[str | None]:
    return [request.headers.get("Range") for request in web.requests]


async def test_a_file_comes_whole_and_is_alone(work: "Work", web: "Web", root: Path, story: "Story") -> None:
    web.files["/file"] = DATA
    params = {"url": f"{web.origin}/file?{SECRET}", "path": f"{root}/file"}
    ended = await work("download_file:HANDLER", params, {"roots": [str(root)], "ca_file": web.ca_file})
    assert ended.word == "succeeded"
    assert (root / "file").read_bytes() == DATA
    assert names(root) == ["file"]
    assert (root / "file").stat().st_mode & 0o777 == 0o644
    assert ended.details["sha256"] == SHA256
    assert story.progressed[-1].message == "3000000 of 3000000 bytes"


async def test_the_signature_reaches_the_server_and_nothing_else(
    work: "Work", web: "Web", root: Path, story: "Story"
) -> None:
    params = {"url": f"{web.origin}/file?{SECRET}", "path": f"{root}/file"}
    for status in (403, 404, 500):
        web.trouble(status=status)
        ended = await work("download_file:HANDLER", params, {"roots": [str(root)], "ca_file": web.ca_file})
        assert SECRET not in repr(ended) + repr(story.events)
    assert {request.path for request in web.requests} == {f"/file?{SECRET}"}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(cut_after=500_000)
    outcome = download(sha256=SHA256)
    assert outcome.word == "succeeded"
    assert (root / "file").read_bytes() == DATA
    assert ranges(web) == [None, "bytes=1000000-", "bytes=1500000-"]
    assert outcome.details["fetched_bytes"] == len(DATA)


def test_another_attempt_takes_up_what_the_first_left(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    first = download()
    assert (first.word, first.reason) == ("retry", "the server answered 503")
    assert not (root / "file").exists()
    again = download(url=f"{web.origin}/file?X-Amz-Signature=another")
    assert again.word == "succeeded"
    assert again.details["resumed_bytes"] == 1_000_000
    assert ranges(web)[-1] == "bytes=1000000-"
    assert (root / "file").read_bytes() == DATA
    assert names(root) == ["file"]


def test_a_file_that_changed_meanwhile_is_fetched_whole(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    download()
    web.files["/file"], web.etag = OTHER, '"v2"'
    assert (download()).word == "succeeded"
    assert (root / "file").read_bytes() == OTHER


def test_a_file_that_shrank_under_the_same_name_is_fetched_whole(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    download()
    web.files["/file"] = b"short"
    assert (download()).word == "succeeded"
    assert (root / "file").read_bytes() == b"short"


def test_what_came_from_elsewhere_is_not_taken_up(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    download()
    web.files["/other"] = OTHER
    assert (download(url=f"{web.origin}/other")).word == "succeeded"
    assert ranges(web)[-1] is None
    assert (root / "file").read_bytes() == OTHER


def test_without_a_strong_etag_nothing_is_taken_up(download: Download, web: "Web", root: Path) -> None:
    web.etag = 'W/"v1"'
    web.trouble(cut_after=1_000_000)
    assert (download()).word == "succeeded"
    assert ranges(web) == [None, None]
    assert (root / "file").read_bytes() == DATA


def test_bytes_after_those_that_were_kept_are_not_relied_on(download: Download, web: "Web", root: Path) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    download()
    (part,) = root.glob("*.part")
    with part.open("ab") as file:
        file.write(bytes(len(DATA)))
    assert (download(sha256=SHA256)).word == "succeeded"
    assert (root / "file").read_bytes() == DATA


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"source": 1}', '{"source": "x", "etag": "y", "size_bytes": -1}'])
def test_a_damaged_note_starts_the_download_over(download: Download, web: "Web", root: Path, note: str) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=503)
    download()
    (path,) = root.glob("*.json")
    path.write_text(note)
    assert (download(sha256=SHA256)).word == "succeeded"


@pytest.mark.parametrize(
    ("status", "body"), [(403, b""), (410, b""), (400, b"<Error><Code>ExpiredToken</Code></Error>")]
)
def test_an_expired_url_is_a_retry(download: Download, web: "Web", root: Path, status: int, body: bytes) -> None:
    web.trouble(status=status, body=body)
    outcome = download()
    assert outcome.word == "retry"
    assert outcome.reason.startswith("the URL has expired")
    assert names(root) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, "failed"),
        (400, "failed"),
        (401, "failed"),
        (206, "failed"),
        (408, "retry"),
        (429, "retry"),
        (500, "retry"),
    ],
)
def test_other_refusals_are_told_by_their_number(download: Download, web: "Web", status: int, kind: str) -> None:
    web.trouble(status=status)
    outcome = download()
    assert (outcome.word, outcome.reason) == (kind, f"the server answered {status}")


def test_a_wrong_digest_fails_and_leaves_the_old_file(download: Download, root: Path) -> None:
    (root / "file").write_text("old")
    outcome = download(sha256="0" * 64)
    assert (outcome.word, "SHA-256" in outcome.reason) == ("failed", True)
    assert (root / "file").read_text() == "old"
    assert names(root) == ["file"]


def test_a_file_that_is_there_already_is_not_fetched(download: Download, web: "Web", root: Path) -> None:
    (root / "file").write_bytes(DATA)
    outcome = download(sha256=SHA256.upper())
    assert (outcome.word, outcome.details["fetched_bytes"]) == ("succeeded", 0)
    assert web.requests == []


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize(("of_settings", "of_params"), [(1024, 2), (2, 99)])
def test_a_file_above_the_lower_cap_fails(
    download: Download, web: "Web", says_length: bool, of_settings: int, of_params: int
) -> None:
    web.trouble(says_length=says_length)
    outcome = download({"max_mb": of_settings}, sha256=SHA256, max_mb=of_params)
    assert outcome.reason == "the file is larger than 2 MiB, the most that is allowed"


def test_a_file_of_unknown_length_needs_a_digest(download: Download, web: "Web", root: Path) -> None:
    web.trouble(says_length=False)
    assert "give sha256" in (download()).reason
    web.trouble(says_length=False)
    assert (download(sha256=SHA256)).word == "succeeded"
    assert (root / "file").read_bytes() == DATA


@pytest.mark.parametrize("said", ["bytes 5-2999999/3000000", "bytes 1000000-1999999/3000000", "bytes */3000000", ""])
def test_another_part_than_the_one_asked_for_fails(download: Download, web: "Web", root: Path, said: str) -> None:
    web.trouble(cut_after=1_000_000)
    web.trouble(status=206, headers={"Content-Range": said}, body=b"x")
    outcome = download()
    assert outcome.reason == "the server sent another part of the file than it was asked for"
    assert names(root) == []


def test_a_redirect_to_https_is_followed(download: Download, web: "Web", root: Path) -> None:
    web.trouble(status=302, headers={"Location": f"/file?{SECRET}2"})
    assert (download()).word == "succeeded"
    assert (root / "file").read_bytes() == DATA


@pytest.mark.parametrize("location", ["http://localhost:1/file", "ftp://localhost/", "file:///etc/passwd", "", "//["])
def test_a_redirect_to_anything_else_fails(download: Download, web: "Web", location: str) -> None:
    web.trouble(status=302, headers={"Location": location} if location else {"Location": "http:"})
    assert (download()).reason == "the server redirects to something other than an https URL"


def test_redirects_end_somewhere(download: Download, web: "Web") -> None:
    for _ in range(6):
        web.trouble(status=307, headers={"Location": "/file"})
    assert (download()).reason == "the server redirects more than 5 times"


def test_an_unknown_authority_is_not_trusted(download: Download) -> None:
    outcome = download({"ca_file": None})
    assert outcome.word == "retry"
    assert outcome.reason.startswith("the server's certificate is not trusted: ")


def test_a_host_that_the_certificate_does_not_name_is_not_trusted(download: Download, web: "Web") -> None:
    outcome = download(url=web.origin.replace("localhost", "127.0.0.1") + f"/file?{SECRET}")
    assert outcome.reason.startswith("the server's certificate is not trusted: ")


def test_nobody_there_is_a_retry(download: Download) -> None:
    outcome = download(url=f"https://localhost:1/file?{SECRET}")
    assert (outcome.word, outcome.reason) == ("retry", "the connection failed: Connection refused")


def test_plain_http_works_to_loopback(download: Download, plain_web: "Web", root: Path) -> None:
    plain_web.files["/file"] = b"plain"
    assert (download({"ca_file": None}, url=f"{plain_web.origin}/file")).word == "succeeded"
    assert (root / "file").read_bytes() == b"plain"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "http://localhost.example.com/x",
        "https://user@example.com/x",
        "https:///x",
        "ftp://localhost/x",
        "https://localhost:x/",
        "https://[/x",
        "https://localhost/a b",
        "https://localhost/a\r\nX: y",
        "https://localhost/ä",
        "/x",
    ],
)
def test_a_url_that_cannot_be_fetched_is_neither_accepted_nor_repeated(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Params.model_validate({"url": f"{url}?{SECRET}", "path": "/srv/x"})
    assert SECRET not in "".join(each["msg"] for each in caught.value.errors(include_input=False))


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../x", "{root}/link/x"])
def test_a_path_outside_of_the_roots_is_rejected_before_any_request(
    download: Download, web: "Web", root: Path, tmp_path: Path, path: str
) -> None:
    (root / "link").symlink_to(tmp_path)
    assert (download(path=path.format(root=root))).word == "rejected"
    assert web.requests == []


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"roots": "/"}, "`roots`"),
        ({"max_mb": "2"}, "`max_mb`"),
        ({"ca_file": 1}, "`ca_file`"),
        ({"ca_file": "/no"}, "PEM"),
    ],
)
def test_wrong_settings_are_the_devices_fault(download: Download, settings: dict[str, object], word: str) -> None:
    outcome = download(settings)
    assert (outcome.word, word in outcome.reason) == ("failed", True)


def test_a_directory_in_its_place_fails_before_any_request(download: Download, web: "Web", root: Path) -> None:
    (root / "file").mkdir()
    assert "a directory has its name" in (download()).reason
    assert web.requests == []


def test_a_mode_is_given_and_an_old_one_kept(download: Download, root: Path) -> None:
    download(mode="0600")
    assert (root / "file").stat().st_mode & 0o777 == 0o600
    download()
    assert (root / "file").stat().st_mode & 0o777 == 0o600


def test_a_stop_ends_it(call: "Call", web: "Web", root: Path) -> None:
    web.files["/file"] = DATA
    params = {"url": f"{web.origin}/file", "path": f"{root}/file"}
    ended = call(HANDLER, params, {"roots": [str(root)], "ca_file": web.ca_file}, cancelled=True)
    assert (ended.word, ended.reason) == ("failed", "cancelled")
    assert names(root) == []


async def test_after_a_kill_the_next_attempt_brings_the_file(
    work: "Work", story: "Story", web: "Web", root: Path
) -> None:
    web.files["/file"] = DATA
    web.trouble(cut_after=2_000_000, hold=(hold := threading.Event()))
    settings = {"roots": [str(root)], "ca_file": web.ca_file}
    params = {"url": f"{web.origin}/file", "path": f"{root}/file"}
    first = asyncio.create_task(work("download_file:HANDLER", params, settings))
    await story.until(lambda: story.progressed)  # a part is there, and the server holds back the rest
    os.kill(story.pid_of_shim(), signal.SIGKILL)  # the handler goes with its shim
    assert (await first).word == "lost"
    hold.set()
    assert not (root / "file").exists()
    assert len(list(root.glob("*.part"))) == 1
    assert (await work("download_file:HANDLER", params, settings)).word == "succeeded"
    assert (root / "file").read_bytes() == DATA


def test_a_second_download_of_the_same_file_waits_for_its_turn(download: Download, root: Path) -> None:
    import fcntl  # noqa: PLC0415 - only here

    digest = hashlib.sha256(b"file").hexdigest()[:8]
    with (root / f".file.{digest}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        outcome = download()
    assert (outcome.word, outcome.reason) == (
        "retry",
        "the same file is being downloaded by another job",
    )


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(
    download: Download, root: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"file").hexdigest()[:8]
    (root / f".file.{digest}.part").symlink_to(tmp_path / "outside")
    assert download().reason == f"the file cannot be written: {os.strerror(errno.ELOOP)}"
    assert not (tmp_path / "outside").exists()


def test_a_second_name_of_the_partial_file_is_not_written_through(
    download: Download, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("kept")
    digest = hashlib.sha256(b"file").hexdigest()[:8]
    (root / f".file.{digest}.part").hardlink_to(tmp_path / "outside")
    assert "is in the way; remove it" in download().reason
    assert (tmp_path / "outside").read_text() == "kept"


def test_it_says_what_it_is() -> None:
    declared: dict[str, Any] = HANDLER.manifest.model_dump()
    assert (declared["name"], declared["on_interrupt"]) == ("download-file", "rerun")


def test_field_f7_a_download_goes_through_the_proxy(download: Download, root: Path) -> None:
    with running_proxy("device:pass:word") as port:
        ended = download({"proxy": f"http://device:pass%3Aword@127.0.0.1:{port}"})
        assert (ended.word, (root / "file").read_bytes() == DATA) == ("succeeded", True)
        (root / "file").unlink()
        refused = download({"proxy": f"http://device:other@127.0.0.1:{port}"})
    assert refused.word != "succeeded"
    assert refused.reason == "the proxy does not let the connection through (it answered 407)"
