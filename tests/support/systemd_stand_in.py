"""A stand-in for systemd's manager on a bus of its own, for machines that are not booted. Run as a program.

It owns org.freedesktop.systemd1 on a real `dbus-daemon` and answers what the agent and its shims ask, as systemd 252
does. A unit is a keeper (tests.support.keeper) and what is below it. PLACE holds what tests look at and write:
`bus` and `sockets/`, `ended/`, `home/` and `tmp/` as on a device; `calls`, one line for each call; `units`, those that
are not over; `behave.json`, how it behaves from now on:

    errors       {method: the name of the error that it answers with}
    first        {method: the names of the errors that its first calls are answered with}
    is_done      what is answered with an error is done all the same
    is_mute      answers nothing
    is_queued    a start waits until this is false again
    ended        a start ends before the first process connects, with this in its file ("" writes none)
    killed       the same, but of a unit whose first process was there
    signals      how many signals come before each answer
    stop_s       after so long, a stop kills
    longest_us   after so many microseconds, a unit is stopped
    uid          the user of the first process
    profiles     {profile: the file of root's configuration}, of privileged ones
    main         [pid, id of the start] of every unit, in place of the first process that it really has
"""

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from tests.support.keeper import keep

from iot_jobs_agent.shim.processes import Process, descendants, send

NAME = "org.freedesktop.systemd1"
OVER = ("inactive", "dead")
LOOK_S = 0.01
FOREVER_US = (1 << 64) - 1


class Unit:
    """One unit that was started: queued until it has a keeper, over once that is gone."""

    def __init__(self, place: Path, name: str) -> None:
        self.place = place
        self.name = name
        self.instance = name.partition("@")[2].removesuffix(".service")
        self.keeper = 0
        self.invocation = ""
        self.launched_at = self.stop_at = float("inf")

    @property
    def processes(self) -> list[Process]:
        return descendants(self.keeper) if self.keeper else []

    @property
    def main(self) -> tuple[int, str]:
        """The pid of its first process and the id of this start."""
        return next((each.pid for each in self.processes if each.parent == self.keeper), 0), self.invocation

    def launch(self, behaviour: dict[str, Any]) -> None:
        self.invocation = uuid.uuid4().hex
        self.launched_at = time.monotonic()
        self.keeper = os.fork()
        if self.keeper == 0:
            try:
                keep(self.place, self.name, self.invocation, behaviour)
            finally:
                os._exit(0)

    def kill(self, number: int) -> None:
        for each in self.processes:
            send(each, number)

    def is_over(self, behaviour: dict[str, Any]) -> bool:
        """Return whether its keeper is gone; end what has had its time."""
        if self.keeper and os.waitpid(self.keeper, os.WNOHANG) == (0, 0):
            now = time.monotonic()
            is_late = now > self.launched_at + behaviour.get("longest_us", FOREVER_US) / 1e6
            timeout = self.place / "tmp" / f"{self.instance}.timeout"
            if now > self.stop_at:  # once: what comes afterwards is what notes the end
                timeout.touch()
                self.kill(signal.SIGKILL)
                self.launched_at = self.stop_at = float("inf")
            elif is_late and self.stop_at == float("inf"):
                timeout.touch()
                self.kill(signal.SIGTERM)
                self.stop_at = now + behaviour.get("stop_s", 30.0)
            return False
        return bool(self.keeper)


class Manager:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.units: dict[str, Unit] = {}
        self.counts: Counter[str] = Counter()
        self.bus = self.connect()

    def connect(self) -> DBusConnection:
        bus = open_dbus_connection(f"unix:path={self.place}/bus", auth_timeout=30.0)
        bus.send_and_get_reply(message_bus.RequestName(NAME))
        print("ready", flush=True)  # noqa: T201 - to whom started us
        return bus

    def reconnect(self) -> None:
        """Come back to a bus that was restarted; end with this place."""
        while self.place.is_dir():
            with contextlib.suppress(OSError):
                self.bus = self.connect()
                return
            select.select([], [], [], LOOK_S)
        sys.exit()

    @property
    def behaviour(self) -> dict[str, Any]:
        return dict(json.loads((self.place / "behave.json").read_text()))

    def run(self) -> None:
        while True:
            try:
                self.take(self.bus.receive(timeout=LOOK_S))
            except TimeoutError:
                pass
            except OSError:
                self.reconnect()
            for name, unit in list(self.units.items()):
                if not unit.keeper and not self.behaviour.get("is_queued"):
                    unit.launch(self.behaviour)
                if unit.is_over(self.behaviour):
                    del self.units[name]
                    self.tell_units()

    def tell_units(self) -> None:
        fresh = self.place / "units.new"
        fresh.write_text(json.dumps(list(self.units)))
        fresh.rename(self.place / "units")

    def error(self, method: str) -> str:
        """Return the name of the error that this call is answered with, or ""."""
        first = self.behaviour.get("first", {}).get(method, [])
        self.counts[method] += 1
        if self.counts[method] <= len(first):
            return str(first[self.counts[method] - 1])
        return str(self.behaviour.get("errors", {}).get(method, ""))

    def take(self, message: Message) -> None:
        method = message.header.fields.get(HeaderFields.member, "")
        if message.header.message_type is not MessageType.method_call:
            return
        with (self.place / "calls").open("a") as calls:
            calls.write(json.dumps([method, *message.body]) + "\n")
        with contextlib.suppress(OSError):  # nobody waits for it, or it is full
            news = os.open(self.place / "news", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(news, b".")
            finally:
                os.close(news)
        behaviour = self.behaviour
        if behaviour.get("is_mute"):
            return
        for number in range(behaviour.get("signals", 0)):
            emitter = DBusAddress("/org/freedesktop/systemd1", NAME, f"{NAME}.Manager")
            news = new_signal(emitter, "UnitNew", "so", (f"{number}.service", "/a"))
            news.header.fields[HeaderFields.destination] = message.header.fields[HeaderFields.sender]
            self.bus.send(news)
        error = self.error(method)
        answer = None if error and not behaviour.get("is_done") else self.answer(method, message)
        self.tell_units()
        if error or answer is None:
            answer = new_error(message, error, "s", (f"{method} is refused",))
        self.bus.send(answer)

    def answer(self, method: str, message: Message) -> Message:
        body = message.body
        match method:
            case "StartUnit":
                self.units.setdefault(body[0], Unit(self.place, body[0]))  # of an active one, a start changes nothing
                return new_method_return(message, "o", ("/org/freedesktop/systemd1/job/7",))
            case "StopUnit" | "KillUnit" if body[0] not in self.units:
                return new_error(message, f"{NAME}.NoSuchUnit", "s", (f"Unit {body[0]} not loaded.",))
            case "StopUnit":
                unit = self.units[body[0]]
                if not unit.keeper:
                    del self.units[body[0]]
                unit.kill(signal.SIGTERM)
                unit.stop_at = time.monotonic() + self.behaviour.get("stop_s", 30.0)
                return new_method_return(message, "o", ("/org/freedesktop/systemd1/job/8",))
            case "KillUnit":
                self.units[body[0]].kill(body[2])
                return new_method_return(message)
            case "ListUnitsByNames":
                return new_method_return(message, "a(ssssssouso)", ([self.row(name) for name in body[0]],))
            case "LookupDynamicUserByUID":
                users = {self.behaviour.get("uid", os.getuid()): unit.instance for unit in self.units.values()}
                if body[0] in users:
                    return new_method_return(message, "s", (f"j-{users[body[0]]}",))
                return new_error(message, f"{NAME}.NoSuchDynamicUser", "s", ("Dynamic user does not exist.",))
            case "Get":
                path = message.header.fields[HeaderFields.path].rpartition("/")[2]
                name = re.sub("_(..)", lambda found: chr(int(found[1], 16)), path)
                pid, invocation = self.units[name].main if name in self.units else (0, "")
                pid, invocation = self.behaviour.get("main", (pid, invocation))
                values: dict[str, tuple[str, Any]] = {
                    "MainPID": ("u", pid),
                    "InvocationID": ("ay", bytes.fromhex(invocation)),
                    "RuntimeMaxUSec": ("t", int(self.behaviour.get("longest_us", FOREVER_US))),
                }
                return new_method_return(message, "v", (values[body[1]],))
        return new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "s", (method,))

    def row(self, name: str) -> tuple[str, str, str, str, str, str, str, int, str, str]:
        unit = self.units.get(name)
        state = ("active", "running") if unit and unit.keeper else OVER
        job = (7, "start", "/org/freedesktop/systemd1/job/7") if unit and not unit.keeper else (0, "", "/")
        return (name, "Handler of an AWS IoT job — ä", "loaded", *state, "", "/org/freedesktop/systemd1/unit/x", *job)


if __name__ == "__main__":
    Manager(Path(sys.argv[1])).run()
