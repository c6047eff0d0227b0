"""collect-logs: the real journalctl, a real journal file, and a real upload.

`system.journal.xz` holds 34 entries of 2026-01-01, made with systemd-journal-remote from the export format: three of
oven.service (one of them an error), one of door.service, and thirty long ones of noise.service.
"""

import gzip
import io
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from iot_jobs_agent.handler import HandlerError, Job
from iot_jobs_handlers.collect_logs import HANDLER, Params, collect, judge

if TYPE_CHECKING:
    from conftest import Call, Ended, Web, Work

pytestmark = pytest.mark.skipif(shutil.which("journalctl") is None, reason="journalctl is not here")

SECRET = "X-Amz-Signature=5ecret"
DAY = {"since": "2026-01-01 00:00:00 UTC", "until": "2026-01-01 23:00:00 UTC"}
Collect = Callable[..., "Ended"]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    packed = Path(__file__).parent / "system.journal.xz"
    (tmp_path / "journal" / "system.journal").write_bytes(lzma.decompress(packed.read_bytes()))
    return tmp_path / "journal"


@pytest.fixture
def collected(call: "Call", web: "Web", journal: Path, tmp_path: Path) -> Collect:
    def run(settings: dict[str, object] | None = None, **params: object) -> "Ended":
        known = {"journal_directory": str(journal), "ca_file": web.ca_file} | (settings or {})
        ended = call(HANDLER, {"url": f"{web.origin}/logs.gz?{SECRET}"} | DAY | params, known)
        assert SECRET not in repr(ended) + (tmp_path / "told").read_text()
        return ended

    return run


def uploaded(web: "Web") -> list[str]:
    return gzip.decompress(web.requests[-1].body).decode().splitlines()


async def test_a_slice_is_uploaded_as_the_signature_allows(work: "Work", web: "Web", journal: Path) -> None:
    params = {"url": f"{web.origin}/logs.gz?{SECRET}", "units": ["oven.service"]} | DAY
    ended = await work("collect_logs:HANDLER", params, {"journal_directory": str(journal), "ca_file": web.ca_file})
    assert (ended.word, ended.details["is_whole"]) == ("succeeded", True)
    assert SECRET not in repr(ended)
    (request,) = web.requests
    assert (request.method, request.path) == ("PUT", f"/logs.gz?{SECRET}")
    assert "Content-Type" not in request.headers
    assert len(request.body) == ended.details["size_bytes"]
    assert [line.partition(": ")[2] for line in uploaded(web)] == [
        "oven is cold",
        "oven is too hot",
        "oven is cold again",
    ]


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 34),
        ({"units": ["oven.service", "door.service"]}, 4),
        ({"priority": "err"}, 1),
        ({"since": "2026-01-01 01:00:01 UTC", "until": "2026-01-01 02:00:00 UTC"}, 2),
        ({"since": "2026-02-01", "until": "2026-02-02"}, 0),
    ],
)
def test_a_slice_holds_what_was_asked_for(
    collected: Collect, web: "Web", params: dict[str, object], count: int
) -> None:
    assert collected(**params).word == "succeeded"
    assert len([line for line in uploaded(web) if not line.startswith("-- ")]) == count


def test_only_units_that_the_owner_lists_are_read(collected: Collect, web: "Web") -> None:
    only = {"units": ["door"]}
    assert collected(only, units=["oven.service"]).word == "rejected"
    assert collected({"units": []}).word == "rejected"
    assert web.requests == []
    assert collected(only).word == "succeeded"
    assert len(uploaded(web)) == 1


@pytest.mark.parametrize(("status", "word"), [(403, "retry"), (503, "retry"), (404, "failed"), (307, "failed")])
def test_an_upload_that_is_refused_is_told(collected: Collect, web: "Web", status: int, word: str) -> None:
    web.trouble(status=status)
    assert collected().word == word


def test_an_unknown_authority_gets_nothing(collected: Collect, web: "Web") -> None:
    assert collected({"ca_file": None}).reason.startswith("the server's certificate is not trusted")
    assert web.requests == []


def test_above_the_cap_it_ends_and_says_so(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    names = {"ID": "1", "PHASE": "run", "DIR": tmp_path, "SETTINGS_FILE": tmp_path / "settings.json", "CONTROL_FD": -1}
    job = Job({f"JOB_{key}": str(value) for key, value in names.items()})
    file = io.BytesIO()
    command = ["journalctl", f"--directory={journal}"]
    assert not collect(command, file, 2000, job)
    assert file.tell() <= 2000
    assert zlib.decompress(file.getvalue(), wbits=31) == b""
    assert collect([*command, "--unit=oven.service"], io.BytesIO(), 4000, job)


def test_a_journal_that_is_not_there_fails(collected: Collect, tmp_path: Path) -> None:
    assert collected({"journal_directory": f"{tmp_path}/no"}).reason.startswith("journalctl exited with code 1: ")


@pytest.fixture
def own_journal(journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A journal in a place that all may enter; and a journalctl that is not run as root, who may read everything."""
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        if os.geteuid() == 0:
            lesser = tmp_path / "bin" / "journalctl"
            lesser.parent.mkdir()
            lesser.write_text(
                f'#!/bin/sh\nexec setpriv --reuid=65534 --clear-groups {shutil.which("journalctl")} "$@"\n'
            )
            lesser.chmod(0o755)
            monkeypatch.setenv("PATH", f"{lesser.parent}:{os.environ['PATH']}")
        yield Path(shutil.copytree(journal, Path(open_to_all) / "journal"))


def test_a_journal_that_may_not_be_read_fails(collected: Collect, own_journal: Path) -> None:
    (own_journal / "system.journal").chmod(0)
    assert "group systemd-journal" in collected({"journal_directory": str(own_journal)}).reason


def test_a_journal_of_which_a_part_is_hidden_fails() -> None:
    said = "Hint: You are currently not seeing messages from other users and the system.\n"
    with pytest.raises(HandlerError, match="group systemd-journal"):
        judge(0, said, is_whole=True)


@pytest.mark.parametrize("settings", [{"units": "x"}, {"units": [1]}, {"journal_directory": 1}, {"ca_file": "/no"}])
def test_wrong_settings_are_the_devices_fault(collected: Collect, settings: dict[str, object]) -> None:
    ended = collected(settings)
    assert (ended.word, "[handler.collect-logs]" in ended.reason) == ("failed", True)


@pytest.mark.parametrize(
    "params",
    [
        {"url": "http://example.com/"},
        {"units": ["--file=/etc/passwd"]},
        {"units": ["o*"]},
        {"since": "--file=x"},
        {"until": "tomorrow\n"},
        {"priority": "8"},
        {"max_mb": 0},
    ],
)
def test_a_slice_that_is_not_valid_is_not_accepted(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Params.model_validate({"url": "https://example.com/"} | params)


@pytest.mark.parametrize("when", ["-1h", "-90 min", "2 days ago", "yesterday", "2026-01-31", "2026-01-31 08:00:00 UTC"])
def test_moments_are_those_that_systemd_knows(when: str) -> None:
    assert Params.model_validate({"url": "https://example.com/", "since": when}).since == when


def test_above_the_cap_the_newest_are_kept(collected: Collect, web: "Web", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_jobs_handlers.collect_logs.MIB", 4000)
    monkeypatch.setattr("iot_jobs_handlers.collect_logs.CHUNK_BYTES", 512)
    ended = collected(max_mb=1)
    assert (ended.word, ended.details["is_whole"]) == ("succeeded", False)
    assert ended.details["size_bytes"] <= 4000
    moments = [line.partition(" ")[0] for line in uploaded(web)[:-1]]
    assert len(moments) > 3
    assert moments == sorted(moments, reverse=True)
    assert "noise" in uploaded(web)[0]
