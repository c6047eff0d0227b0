"""JSON, signals and prctl by the interpreter's own C modules, for programs that are started once for each attempt.

The modules `json`, `signal` and `ctypes` would be more than half of what such a start costs: they bring `re`, `enum`
and `functools`. What is used here of CPython is private to it, so where it is missing, the ordinary modules do the
work, and a test compares both.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["PR_SET_CHILD_SUBREAPER", "PR_SET_DUMPABLE", "PR_SET_PDEATHSIG", "dumps", "loads", "prctl", "signal"]

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
WHITE_SPACE = " \t\n\r"  # RFC 8259, section 2


class _Decoding:
    """How JSON is read: as `json.loads` does without options."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__


def _cannot(value: object) -> None:
    raise TypeError(f"{type(value).__name__} cannot be JSON")


try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan: Any = make_scanner(_Decoding)  # type: ignore[arg-type]
    _options = (False, False, True)  # sort_keys, skipkeys, allow_nan: as `json.dumps` has them
    _ascii, _unicode = (
        make_encoder(None, _cannot, quoted, None, ": ", ", ", *_options)
        for quoted in (encode_basestring_ascii, encode_basestring)
    )
except (ImportError, TypeError, AttributeError):
    _scan = None
try:
    from _ctypes import call_function, dlopen, dlsym

    _own: Any = None  # the C library that the interpreter has already loaded
    _prctl = dlsym(dlopen(_own, 0), "prctl")
except (ImportError, TypeError, AttributeError):
    _prctl = 0


def loads(data: str | bytes) -> Any:
    """Return what a JSON text in UTF-8 says. Raises ValueError if it is none, RecursionError if it is too deep."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogatepass")
    if _scan is not None:
        try:
            value, end = _scan(text, len(text) - len(text.lstrip(WHITE_SPACE)))
        except (StopIteration, SystemError):  # before Python 3.12 the latter, if `json` is not there to name the error
            pass
        else:
            if not text[end:].strip(WHITE_SPACE):
                return value
    import json  # noqa: PLC0415 - only where it is needed: it says what is wrong

    return json.loads(text)


def dumps(value: object, *, ensure_ascii: bool = True) -> str:
    """Return the JSON text of a value. Raises TypeError if it has none."""
    if _scan is None:
        import json  # noqa: PLC0415 - only where it is needed

        return json.dumps(value, ensure_ascii=ensure_ascii)
    return "".join((_ascii if ensure_ascii else _unicode)(value, 0))


def prctl(option: int, value: int) -> None:
    """Set a property of this process. The options that we use exist since Linux 3.4 and cannot fail."""
    if _prctl:
        call_function(_prctl, (option, value, 0, 0, 0))
        return
    import ctypes  # noqa: PLC0415 - only where it is needed

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
