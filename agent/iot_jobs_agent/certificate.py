"""Reads from when and until when a certificate is valid. Knows as much of X.509 as that takes, and verifies nothing.

The standard library's `ssl` does it for certificates of authorities only, and the SDK does not do it at all.
"""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_LARGEST_BYTES = 1024 * 1024
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def expires_at(file: Path) -> float | None:
    """Return until when the first certificate of a PEM file is valid, in epoch seconds; None if that is not known.

    Blocks.
    """
    found = _validity(file)
    return found[1] if found else None


def validity_problem(file: Path, now: float) -> str:
    """Return why the certificate is not valid at `now`, in epoch seconds, to be read after its name; "" if it is.

    Also "" if that is not known. Blocks.
    """
    valid_from, valid_until = _validity(file) or (now, now)
    if now < valid_from:
        began = _date(valid_from)
        return f"is not valid at the time of this device's clock, but from {began} on; let the clock synchronise"
    if now > valid_until:
        return f"has expired on {_date(valid_until)}; replace it and its key (docs/install.md says how)"
    return ""


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def _validity(file: Path) -> tuple[float, float] | None:
    """RFC 5280, 4.1: TBSCertificate has version, serialNumber, signature, issuer and validity, in this order."""
    try:
        with file.open("rb") as opened:
            found = _PEM.search(opened.read(_LARGEST_BYTES))
        if found is None:
            return None
        to_be_signed = _content(_content(base64.b64decode(found[1]), _SEQUENCE), _SEQUENCE)
        if to_be_signed[0] == _VERSION:
            to_be_signed = _rest(to_be_signed)
        validity = _content(_rest(_rest(_rest(to_be_signed))), _SEQUENCE)
        return _time(validity), _time(_rest(validity))
    except (OSError, ValueError, LookupError, OverflowError):
        return None


def _split(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag of the first element, its content, and what follows it (X.690, 8.1). ValueError, IndexError."""
    tag, size, at = data[0], data[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(data[2:at], "big")
    if at + size > len(data):
        raise ValueError
    return tag, data[at : at + size], data[at + size :]


def _content(data: bytes, expected: int) -> bytes:
    tag, content, _ = _split(data)
    if tag != expected:
        raise ValueError
    return content


def _rest(data: bytes) -> bytes:
    return _split(data)[2]


def _time(data: bytes) -> float:
    """Read UTCTime, whose years 50 to 99 are those of the last century, or GeneralizedTime (RFC 5280, 4.1.2.5)."""
    tag, content, _ = _split(data)
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = f"{'19' if int(text[:2]) >= 50 else '20'}{text}"  # noqa: PLR2004 - RFC 5280
    elif tag != _GENERALIZED_TIME:
        raise ValueError
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
