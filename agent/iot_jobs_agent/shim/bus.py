"""Asks systemd over D-Bus to start, signal and stop a unit; standard library only, because a shim has nothing else.

One connection for each request, unless a process stays connected: authentication EXTERNAL, Hello, one method of
org.freedesktop.systemd1.Manager (D-Bus Specification 0.43, "Message Protocol" and "Authentication Protocol";
org.freedesktop.systemd1(5)). polkit decides whether this user may; nothing asks a person.
"""

from __future__ import annotations

import os
import struct
import time
from _socket import AF_UNIX, SOCK_STREAM, socket  # `socket` would take as long as all the rest of a shim's start

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_BUS = "/run/dbus/system_bus_socket"
SYSTEMD = "org.freedesktop.systemd1"
MANAGER = ("/org/freedesktop/systemd1", f"{SYSTEMD}.Manager", SYSTEMD)
TIMEOUT_S = 15.0  # of each step; who asks asks again, and meanwhile neither a deadline nor a stop is seen to
CALL, RETURN, ERROR = 1, 2, 3
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
KINDS = {PATH: b"o", INTERFACE: b"s", MEMBER: b"s", DESTINATION: b"s", SIGNATURE: b"g"}
LONGEST_BYTES = 1 << 20
UNSOUND = {f"org.freedesktop.DBus.Error.{word}" for word in ("Disconnected", "LimitsExceeded")}  # said by ourselves
HEADER_BYTES = 16
FOREVER_US = (1 << 64) - 1  # "infinity"
# Errors that say nothing about what was asked for: the bus or systemd is busy, starting, stopping, or being restarted.
PASSING = frozenset(
    f"org.freedesktop.DBus.Error.{word}"
    for word in (
        *("AuthFailed", "Disconnected", "LimitsExceeded", "NameHasNoOwner", "NoMemory"),
        *("NoReply", "ServiceUnknown", "TimedOut", "Timeout"),
    )
)


class BusError(Exception):
    """The bus or systemd refused. `name` is the error's D-Bus name, such as org.freedesktop.DBus.Error.AccessDenied."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name


def start_unit(unit: str) -> None:
    """Queue the start of the unit. Blocks. Raises BusError, OSError."""
    _manage("StartUnit", "ss", (unit, "fail"))


def stop_unit(unit: str) -> None:
    """Queue the stop of the unit: SIGTERM, and SIGKILL after its TimeoutStopSec. Blocks. Raises BusError, OSError."""
    _manage("StopUnit", "ss", (unit, "replace"))


def kill_unit(unit: str, number: int) -> None:
    """Send a signal to every process of the unit. Blocks. Raises BusError, OSError."""
    _manage("KillUnit", "ssi", (unit, "all", number))


def is_over(unit: str) -> bool:
    """Return whether nothing of the unit runs, and nothing is queued for it. Blocks. Raises BusError, OSError."""
    body = _manage("ListUnitsByNames", "as", (struct.pack("<I", len(_string(unit))) + _string(unit),))
    at = 8  # the length of the array, and what aligns its first structure
    texts = []
    for _ in range(7):  # name, description, load state, active state, sub state, whom it follows, path
        (length,) = struct.unpack_from("<I", body, at)
        texts.append(body[at + 4 : at + 4 + length])
        at += 4 + length + 1
        at += -at % 4
    (job,) = struct.unpack_from("<I", body, at)
    return texts[3] in {b"inactive", b"failed"} and job == 0


def dynamic_user(uid: int) -> str:
    """Return the name of a user that systemd made for a unit (DynamicUser=). Blocks. Raises BusError, OSError."""
    body = _manage("LookupDynamicUserByUID", "u", (struct.pack("<I", uid),))
    (length,) = struct.unpack_from("<I", body)
    return body[4 : 4 + length].decode()


def main_process(unit: str) -> tuple[int, str]:
    """Return the pid of a service's first process, and systemd's id of this start. Blocks. Raises BusError, OSError.

    0 and "" if the service does not run.
    """
    (pid,) = struct.unpack_from("<I", _property(unit, "Service", "MainPID"), 4)
    body = _property(unit, "Unit", "InvocationID")
    (length,) = struct.unpack_from("<I", body, 4)
    return pid, body[8 : 8 + length].hex()


def longest_s(unit: str) -> float:
    """Return for how many seconds systemd lets a service run, its RuntimeMaxSec=. Blocks. Raises BusError, OSError."""
    (longest_us,) = struct.unpack_from("<Q", _property(unit, "Service", "RuntimeMaxUSec"), 8)
    return float(longest_us / 1e6) if longest_us < FOREVER_US else float("inf")


def _property(unit: str, kind: str, name: str) -> bytes:
    """Return a property of a unit, which systemd loads for that: the variant, its value behind its signature."""
    escaped = "".join(each if each.isalnum() else f"_{ord(each):02x}" for each in unit)
    properties = (f"{MANAGER[0]}/unit/{escaped}", "org.freedesktop.DBus.Properties", MANAGER[2])
    return _ask(properties, "Get", "ss", (f"{SYSTEMD}.{kind}", name))


def _manage(method: str, signature: str, arguments: Sequence[str | int | bytes]) -> bytes:
    return _ask(MANAGER, method, signature, arguments)


class BusConnection:
    """A connection to the bus. Raises BusError, OSError."""

    def __init__(self) -> None:
        self.serial = 0
        self.bus = socket(AF_UNIX, SOCK_STREAM)
        try:
            self.bus.settimeout(TIMEOUT_S)
            self.bus.connect(SYSTEM_BUS)
            _authenticate(self.bus)
            self.send(("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus"), "Hello", "", ())
            _await_reply(self.bus, self.serial)
        except BaseException:
            self.bus.close()
            raise

    def send(
        self, whom: tuple[str, str, str], method: str, signature: str, arguments: Sequence[str | int | bytes]
    ) -> None:
        """Send a call to `whom` (path, interface, destination)."""
        self.serial += 1
        self.bus.sendall(_call(self.serial, whom, method, signature, arguments))


_kept: list[BusConnection] = []
_keeps = False


def stay_connected(*, is_wanted: bool) -> None:
    """Keep the connection between requests, or no longer. Only for a process in which one thread asks."""
    global _keeps  # noqa: PLW0603 - of the process, as is the bus
    _keeps = is_wanted
    while _kept and not is_wanted:
        _kept.pop().bus.close()


def _ask(whom: tuple[str, str, str], method: str, signature: str, arguments: Sequence[str | int | bytes]) -> bytes:
    """Call a method of systemd's at `whom` (path, interface, destination), wait for its reply, and return the body."""
    connection = _sent(whom, method, signature, arguments)
    is_sound = False
    try:
        answer = _await_reply(connection.bus, connection.serial)
        is_sound = True
    except BusError as error:
        is_sound = error.name not in UNSOUND
        raise
    finally:
        if is_sound and _keeps:
            _kept.append(connection)
        else:
            connection.bus.close()
    return answer


def _sent(
    whom: tuple[str, str, str], method: str, signature: str, arguments: Sequence[str | int | bytes]
) -> BusConnection:
    """Send a call, over the kept connection if the bus still takes it there, and return the connection."""
    while _kept:
        connection = _kept.pop()
        try:
            connection.send(whom, method, signature, arguments)
        except OSError:  # the bus was restarted meanwhile
            connection.bus.close()
        else:
            return connection
    connection = BusConnection()
    try:
        connection.send(whom, method, signature, arguments)
    except BaseException:
        connection.bus.close()
        raise
    return connection


def _authenticate(bus: socket) -> None:
    """Say who we are, which the bus knows from the kernel. Raises BusError, OSError."""
    identity = str(os.getuid()).encode().hex()
    bus.sendall(b"\0AUTH EXTERNAL " + identity.encode() + b"\r\nBEGIN\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += _read(bus, 1)
    if not answer.startswith(b"OK "):
        raise BusError("org.freedesktop.DBus.Error.AuthFailed", answer.decode(errors="replace").strip())


def _call(
    serial: int, whom: tuple[str, str, str], method: str, signature: str, arguments: Sequence[str | int | bytes]
) -> bytes:
    """Return a method call, in little-endian byte order."""
    path, interface, destination = whom
    body = b""
    for each in arguments:
        packed = _string(each) if isinstance(each, str) else struct.pack("<i", each) if isinstance(each, int) else each
        body = _padded(body, 4) + packed
    given = {PATH: path, INTERFACE: interface, MEMBER: method, DESTINATION: destination, SIGNATURE: signature}
    fields = b""
    for code, value in given.items():
        if value:
            kind = KINDS[code]
            packed = struct.pack("B", len(value)) + value.encode() + b"\0" if kind == b"g" else _string(value)
            field = struct.pack("B", code) + b"\1" + kind + b"\0" + packed
            fields = _padded(fields, 8) + field
    header = struct.pack("<cBBBIII", b"l", CALL, 0, 1, len(body), serial, len(fields)) + fields
    return _padded(header, 8) + body


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def _padded(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def _await_reply(bus: socket, serial: int) -> bytes:
    """Read messages until the reply to `serial`, over signals, and return its body.

    Raises BusError if it is an error, and TimeoutError if it does not come in time, whatever else comes.
    """
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        header = _read(bus, HEADER_BYTES)
        order = "<" if header[:1] == b"l" else ">"
        kind, body_bytes, field_bytes = header[1], *struct.unpack(f"{order}I4xI", header[4:16])
        if body_bytes + field_bytes > LONGEST_BYTES:
            raise BusError("org.freedesktop.DBus.Error.LimitsExceeded", "the bus sent too much")
        fields = _read(bus, field_bytes + -(HEADER_BYTES + field_bytes) % 8)
        body = _read(bus, body_bytes)
        found = _fields(fields[:field_bytes], order)
        if found.get(REPLY_SERIAL) != serial or kind not in {RETURN, ERROR}:
            continue
        if kind == ERROR:
            message = ""
            if str(found.get(SIGNATURE, "")).startswith("s"):
                (length,) = struct.unpack_from(f"{order}I", body)
                message = body[4 : 4 + length].decode(errors="replace")
            raise BusError(str(found.get(ERROR_NAME, "")), message)
        return body
    raise TimeoutError(f"the bus sent other messages for {TIMEOUT_S:g} s, but no reply")


def _fields(data: bytes, order: str) -> dict[int, str | int]:
    """Return a header's fields by their codes; only strings, object paths, signatures and u32 occur in it."""
    found: dict[int, str | int] = {}
    at = 0
    while at < len(data):
        at += -at % 8
        code, kind = data[at], data[at + 2 : at + 3]
        at += 4
        if kind == b"g":
            length, at = data[at], at + 1
        else:
            (length,), at = struct.unpack_from(f"{order}I", data, at), at + 4
        if kind == b"u":
            found[code] = length
            continue
        found[code] = data[at : at + length].decode(errors="replace")
        at += length + 1
    return found


def _read(bus: socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = bus.recv(size - len(data))
        if not chunk:
            raise BusError("org.freedesktop.DBus.Error.Disconnected", "the bus closed the connection")
        data += chunk
    return data
