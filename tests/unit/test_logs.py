import io
import json
import logging
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.logs import configure, get_logger, redact

URL = "https://bucket.s3.amazonaws.com/key?X-Amz-Credential=AKIA&X-Amz-Signature=SECRET"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(**members: Any) -> dict[str, Any]:
    stream = io.StringIO()
    configure(stream=stream)
    get_logger().info("event", **members)
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def fail(text: str) -> None:
    hidden = "LOC" + "AL"
    raise ValueError(text, len(hidden))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_json_with_level_and_time_where_there_is_no_terminal() -> None:
    line = logged(job_id="job-1", step=0)
    assert (line["event"], line["level"], line["job_id"], line["step"]) == ("event", "info", "job-1", 0)
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_words_unless_json_is_asked_for() -> None:
    stream: TextIO = _Terminal()
    configure(stream=stream)
    get_logger().info("connected", job_id="job-1")
    configure(form="json", stream=stream)
    get_logger().info("connected", job_id="job-2")
    words, _, as_json = stream.getvalue().partition("\n")  # type: ignore[attr-defined] # a StringIO below
    assert "connected" in words
    assert not words.startswith("{")
    assert json.loads(as_json)["job_id"] == "job-2"


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure("warning", stream=stream)
    get_logger().info("quiet")
    get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_the_query_of_a_url_is_removed_wherever_it_hides() -> None:
    class Holder:
        def __str__(self) -> str:
            return f"holder of {URL}"

    line = logged(url=URL, nested={"deep": [URL, (URL,)], URL: 1}, bytes=URL.encode(), thing=Holder(), path=Path("/a"))
    text = json.dumps(line)
    assert "SECRET" not in text
    assert "AKIA" not in text
    assert line["url"] == "https://bucket.s3.amazonaws.com/key?[removed]"
    assert line["path"] == "/a"


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_without_secrets_or_local_variables(form: str) -> None:
    stream = io.StringIO()
    configure(form=form, stream=stream)
    try:
        fail(URL)
    except ValueError:
        get_logger().exception("broken")
    text = stream.getvalue()
    assert "ValueError" in text
    assert "SECRET" not in text
    assert "LOCAL" not in text


def test_private_keys_and_bare_signatures_are_removed() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----"
    assert redact(f"a {key} b") == "a [private key] b"
    assert redact(key[:40]) == "[private key]"
    assert redact("x-amz-signature=SECRET&a=b") == "x-amz-signature=[removed]&a=b"
    assert redact("why? a plain sentence: c?d") == "why? a plain sentence: c?d"


@given(query=st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1))
def test_no_query_survives(query: str) -> None:
    assert redact(f"get https://host/path?{query} now") == "get https://host/path?[removed] now"


def test_what_libraries_log_takes_the_same_form() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("asyncio").error("failed for %s", URL)
    logging.getLogger("asyncio").info("chatter")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["library"], line["level"]) == ("asyncio", "error")
    assert line["event"] == "failed for https://bucket.s3.amazonaws.com/key?[removed]"


def test_under_journald_every_line_begins_with_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        configure("debug", "console", stream=stream, environ=environ)
        logger = get_logger()
        logger.debug("d")
        logger.info("i")
        logger.warning("w")
        try:
            fail("on purpose")
        except ValueError:
            logger.exception("e")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert len(lines) > 5
    assert all(line.startswith("<3>") for line in lines[3:])


def test_another_stream_than_the_journal_gets_no_priority() -> None:
    stream = io.StringIO()
    configure(stream=stream, environ={"JOURNAL_STREAM": "1:2"})
    get_logger().info("event")
    assert stream.getvalue().startswith("{")


def test_importing_the_module_does_not_import_structlog() -> None:
    program = "import sys, iot_jobs_agent.logs, iot_jobs_agent.systemd; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("piece", ["a.", "a://", "-----BEGIN ", "X-Amz-Signature", "a://b?", "?#"])
def test_field_d6_redaction_takes_time_in_proportion_to_the_length(piece: str) -> None:
    """Ratios of CPU time, since machines differ: 16 times the text may take 16 times as long, not 256 times."""

    def least_s(length: int) -> float:
        text = piece * (length // len(piece))
        return min(timeit.repeat(lambda: redact(text), timer=time.process_time, number=1, repeat=5))

    assert least_s(1 << 18) < 60 * least_s(1 << 14) + 0.01
