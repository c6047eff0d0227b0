"""What the shim says to a real `dbus-daemon`, and how it takes what comes back."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.buses import place_of_its_own

from iot_jobs_agent.shim import bus
from iot_jobs_agent.shim.bus import BusError

if TYPE_CHECKING:
    from tests.support.buses import Systemd

UNIT = "iot-job-network@0123456789abcdef01234567.service"
SYSTEMD = "org.freedesktop.systemd1"
DBUS = "org.freedesktop.DBus.Error"


@pytest.fixture
def short() -> Iterator[Path]:
    with place_of_its_own() as place:
        yield place


def test_a_unit_is_started_signalled_asked_about_and_stopped(systemd: "Systemd") -> None:
    systemd.behave(is_queued=True)
    assert bus.is_over(UNIT)
    bus.start_unit(UNIT)
    assert not bus.is_over(UNIT)  # inactive, but with a job
    bus.kill_unit(UNIT, 15)
    bus.stop_unit(UNIT)
    assert bus.is_over(UNIT)
    methods = "StartUnit", "KillUnit", "StopUnit", "ListUnitsByNames"
    assert systemd.calls(*methods) == [
        ["ListUnitsByNames", [UNIT]],
        ["StartUnit", UNIT, "fail"],
        ["ListUnitsByNames", [UNIT]],
        ["KillUnit", UNIT, "all", 15],
        ["StopUnit", UNIT, "replace"],
        ["ListUnitsByNames", [UNIT]],
    ]


def test_a_dynamic_users_name_is_told_and_that_there_is_none_is_an_error(systemd: "Systemd") -> None:
    systemd.behave(is_queued=True)
    bus.start_unit(UNIT)
    assert bus.dynamic_user(os.getuid()) == "j-0123456789abcdef01234567"
    with pytest.raises(BusError, match="does not exist") as refused:
        bus.dynamic_user(4_294_967_294)
    assert refused.value.name == f"{SYSTEMD}.NoSuchDynamicUser"


def test_a_units_first_process_is_told_with_the_id_of_its_start(systemd: "Systemd") -> None:
    assert bus.main_process(UNIT) == (0, "")
    systemd.behave(main=[4_194_303, "0123456789abcdef" * 2])
    assert bus.main_process(UNIT) == (4_194_303, "0123456789abcdef" * 2)
    assert bus.main_process("iot-job-as-a_b@0.service") == (4_194_303, "0123456789abcdef" * 2)
    assert systemd.calls("Get")[-2:] == [
        ["Get", f"{SYSTEMD}.Service", "MainPID"],
        ["Get", f"{SYSTEMD}.Unit", "InvocationID"],
    ]


def test_an_error_has_its_name_and_its_words(systemd: "Systemd") -> None:
    systemd.behave(errors={"StartUnit": f"{SYSTEMD}.UnitMasked"})
    with pytest.raises(BusError, match=r"^StartUnit is refused$") as refused:
        bus.start_unit(UNIT)
    assert refused.value.name == f"{SYSTEMD}.UnitMasked"


def test_what_the_buss_own_policy_denies_is_told_like_what_systemd_denies(systemd: "Systemd") -> None:
    with pytest.raises(BusError, match="Rejected send message") as refused:
        bus._manage("Reexecute", "", ())
    assert refused.value.name == f"{DBUS}.AccessDenied"


def test_signals_in_front_of_the_answer_are_passed_over(systemd: "Systemd") -> None:
    systemd.behave(signals=20)
    assert bus.is_over(UNIT)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6, 7, 8, 100, 60_000])
def test_names_of_any_length_are_aligned_as_the_bus_demands(systemd: "Systemd", length: int) -> None:
    name = "u" * length
    with pytest.raises(BusError, match="not loaded"):
        bus.stop_unit(name)
    assert bus.is_over(name)
    assert systemd.calls("StopUnit", "ListUnitsByNames") == [
        ["StopUnit", name, "replace"],
        ["ListUnitsByNames", [name]],
    ]


@pytest.fixture
def kept() -> Iterator[None]:
    """The connection is kept between requests."""
    bus.stay_connected(is_wanted=True)
    yield
    bus.stay_connected(is_wanted=False)


def test_a_kept_connection_serves_requests_and_errors(
    systemd: "Systemd", kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus.is_over(UNIT)
    monkeypatch.setattr(bus, "SYSTEM_BUS", "/nowhere")  # no other one can be made
    with pytest.raises(BusError, match="not loaded"):
        bus.stop_unit(UNIT)
    systemd.behave(signals=20)
    assert bus.is_over(UNIT)
    bus.stay_connected(is_wanted=False)
    with pytest.raises(FileNotFoundError):
        bus.is_over(UNIT)


def test_a_kept_connection_is_made_anew_once_the_bus_was_restarted(systemd: "Systemd", kept: None) -> None:
    assert bus.is_over(UNIT)
    systemd.restart_bus()
    assert bus.is_over(UNIT)


def test_a_connection_that_was_cut_off_or_is_late_is_not_kept(
    systemd: "Systemd", kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus.is_over(UNIT)
    monkeypatch.setattr(bus, "TIMEOUT_S", 0.3)
    bus._kept[0].bus.settimeout(0.3)
    systemd.behave(is_mute=True)
    with pytest.raises(TimeoutError):
        bus.is_over(UNIT)
    assert bus._kept == []  # its answer could be taken for that of the next question
    systemd.behave()
    monkeypatch.setattr(bus, "TIMEOUT_S", 15.0)
    assert bus.is_over(UNIT)


def test_a_bus_without_systemd_on_it_says_so(systemd: "Systemd") -> None:
    systemd.stop()
    systemd.start_bus()
    with pytest.raises(BusError) as refused:
        bus.start_unit(UNIT)
    assert refused.value.name in bus.PASSING


def test_a_bus_that_is_not_there_is_an_error_of_the_system(systemd: "Systemd") -> None:
    systemd.stop()
    with pytest.raises(ConnectionRefusedError):
        bus.start_unit(UNIT)
    systemd.bus.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        bus.start_unit(UNIT)


def test_systemd_that_does_not_answer_is_not_waited_for_forever(
    systemd: "Systemd", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "TIMEOUT_S", 0.3)
    systemd.behave(is_mute=True)
    with pytest.raises(TimeoutError):
        bus.start_unit(UNIT)


def test_systemd_that_dies_over_the_question_is_not_waited_for(systemd: "Systemd") -> None:
    systemd.behave(is_mute=True)
    ended = threading.Thread(target=die_once_asked, args=(systemd,))
    ended.start()
    try:
        with pytest.raises(BusError) as refused:
            bus.start_unit(UNIT)
    finally:
        ended.join()
    assert refused.value.name in bus.PASSING


def die_once_asked(systemd: "Systemd") -> None:
    while not systemd.calls("StartUnit"):
        threading.Event().wait(0.01)
    assert systemd.manager is not None
    systemd.manager.kill()


def test_no_descriptor_is_left_open_whatever_comes(systemd: "Systemd") -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    bus.is_over(UNIT)
    with pytest.raises(BusError):
        bus.stop_unit(UNIT)
    systemd.stop()
    with pytest.raises(OSError, match="refused"):
        bus.is_over(UNIT)
    assert opened() <= before


@contextlib.contextmanager
def false_bus(
    place: Path, monkeypatch: pytest.MonkeyPatch, *answers: bytes, without_end: bytes = b""
) -> Iterator[None]:
    """A bus that says one thing after the other, each once it was spoken to, then one without end, and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "false"))
    listener.listen(1)

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(ConnectionError):  # who was refused is gone at once
            for answer in answers:
                peer.recv(65536)
                peer.sendall(answer)
            while without_end:
                peer.sendall(without_end)

    thread = threading.Thread(target=serve)
    thread.start()
    monkeypatch.setattr(bus, "SYSTEM_BUS", str(place / "false"))
    try:
        yield
    finally:
        thread.join()
        listener.close()


def reply(serial: int, body_bytes: int = 0) -> bytes:
    field = b"\5\1u\0" + serial.to_bytes(4, "little")
    head = b"l\2\0\1" + body_bytes.to_bytes(4, "little") + (9).to_bytes(4, "little") + len(field).to_bytes(4, "little")
    return head + field


BIG_ENDIAN = b"B\2\0\1" + (0).to_bytes(4, "big") + (9).to_bytes(4, "big") + (8).to_bytes(4, "big") + b"\5\1u\0\0\0\0\2"
OK = b"OK 1234deadbeef\r\n"


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ((b"",), "Disconnected"),
        ((b"REJECTED EXTERNAL\r\n", b""), "AuthFailed"),
        ((OK, b""), "Disconnected"),
        ((OK, reply(1), b""), "Disconnected"),
        ((OK, reply(1), reply(2)[:20]), "Disconnected"),
        ((OK, reply(1), reply(2, 1 << 30)), "LimitsExceeded"),
    ],
)
def test_a_bus_that_breaks_off_refuses_or_floods_is_an_error_of_its_own(
    short: Path, monkeypatch: pytest.MonkeyPatch, answers: tuple[bytes, ...], name: str
) -> None:
    with false_bus(short, monkeypatch, *answers), pytest.raises(BusError) as refused:
        bus.start_unit(UNIT)
    assert refused.value.name == f"{DBUS}.{name}"


def test_a_request_ends_in_time_whatever_somebody_else_sends_us_meanwhile(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program may send signals to any other over the system's bus."""
    monkeypatch.setattr(bus, "TIMEOUT_S", 0.3)
    with false_bus(short, monkeypatch, OK, reply(1), b"", without_end=reply(9)), pytest.raises(TimeoutError):
        bus.start_unit(UNIT)


def test_an_answer_in_the_other_byte_order_is_understood(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with false_bus(short, monkeypatch, OK, reply(1), BIG_ENDIAN):
        bus.start_unit(UNIT)
