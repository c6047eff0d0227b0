"""Logging with structlog to stderr: one line per event, without secrets.

Owns the form of a line, and what must not be in it: the queries of URLs (a presigned one is a credential) and private
keys. Nobody may log the values of a job document, because no filter could recognise them. structlog is imported on
first use only.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_WORD = re.compile(r"\S+")
_SCHEME_END = "://"
_QUERY_START = re.compile(r"[?#]")
_SIGNATURE = re.compile(r"(?i)\b(X-Amz-(?:Signature|Credential|Security-Token))=[^&\s]+")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def configure(
    level: str = "info",
    form: str = "auto",
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send everything that we or libraries (through `logging`) log from now on to `stream` (default: stderr).

    `level` is debug, info, warning or error. `form` is json, console, or auto: console on a terminal, otherwise json.
    Under systemd, each line starts with its priority (sd-daemon(3)). Idempotent.
    """
    import structlog  # noqa: PLC0415 - commands that log nothing start faster without it

    target = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer = _renderer(form, target)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
        _with_priority(renderer) if _is_journal(target, environ) else renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(max(threshold, logging.WARNING))


def _renderer(form: str, target: TextIO) -> "Processor":
    import structlog.dev  # noqa: PLC0415 - as above

    if form == "json" or (form == "auto" and not target.isatty()):
        return structlog.processors.JSONRenderer(default=str)
    render = structlog.dev.ConsoleRenderer(
        colors=target.isatty(),
        # Exceptions are text by now; the default formatter, if it were ever used, would print local variables.
        exception_formatter=structlog.dev.plain_traceback,
    )
    return lambda logger, method, event: render(logger, method, _with_readable_traceback(event))


def _with_readable_traceback(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let the traceback of a handler stand below its line, as exceptions do, without what a terminal would obey."""
    text = event.pop("traceback", "")
    if text:
        event["exception"] = "".join(
            each if each.isprintable() or each in "\n\t" else "�" for each in str(text).rstrip()
        )
    return event


def get_logger(**context: Any) -> "FilteringBoundLogger":
    """Return a logger that adds `context` to every event. Event names are short and lower case; facts are members."""
    import structlog  # noqa: PLC0415 - as above

    logger: FilteringBoundLogger = structlog.get_logger(**context)
    return logger


def redact(text: str) -> str:
    """Return `text` without URL queries and fragments, AWS signatures and private keys, in linear time."""
    text = _PRIVATE_KEY.sub("[private key]", text)
    if _SCHEME_END in text:
        text = _WORD.sub(_without_query, text)
    return _SIGNATURE.sub(r"\1=[removed]", text)


def _without_query(word: re.Match[str]) -> str:
    """Return a word without what follows the first `?` or `#` of a URL in it."""
    found = word[0]
    scheme_end = found.find(_SCHEME_END)
    query = _QUERY_START.search(found, scheme_end) if scheme_end > 0 else None
    return found if query is None else f"{found[: query.start()]}?[removed]"


class _Forward(logging.Handler):
    """Passes what libraries log on to structlog, so that it gets the same form and loses the same secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger(library=record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _redact_value(value) for key, value in event.items()}


def _redact_value(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case Mapping():
            return {redact(str(key)): _redact_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redact_value(item) for item in value]
        case _:
            return redact(str(value))


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` is the journal socket that systemd names in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _with_priority(renderer: "Processor") -> "Processor":
    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        prefix = f"<{_PRIORITIES.get(event['level'], 6)}>"
        return prefix + str(renderer(logger, method, event)).replace("\n", f"\n{prefix}")

    return render
