"""A pytest plug-in that notes which members the requests and answers of each test had."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.member_coverage.model import CONTROL, DEVICE, Member, given, service_model

from iot_jobs_simulator import payloads
from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.device_plane import DevicePlane

if TYPE_CHECKING:
    from collections.abc import Callable

ABOUT_EVERYTHING = "test_coverage_page"  # it asks for all members, and so is about none


class Recorder:
    """`tests` has for each test the members of what it asked for in vain or not, and its source."""

    def __init__(self) -> None:
        self.tests: dict[str, set[Member]] = {}
        self.sources: dict[str, str] = {}
        self._running: str | None = None
        self._models = {name: service_model(name) for name in (CONTROL, DEVICE)}

    def pytest_collection_finish(self) -> None:
        """Begin to listen on both planes."""
        ControlPlane.answer = self._listening(CONTROL, ControlPlane.answer)  # type: ignore[method-assign]
        DevicePlane._perform = self._listening(DEVICE, DevicePlane._perform)  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """Note to which test what comes now belongs."""
        name = item.nodeid.split("tests/unit/simulator/")[-1].partition("[")[0]
        self._running = name
        self.sources[name] = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
        try:
            return (yield)
        finally:
            self._running = None

    def _listening(self, service: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        def listening(plane: Any, operation: str, members: Any, *rest: Any) -> Any:
            answered = answer(plane, operation, members, *rest)
            self._note(service, operation, members, answered)
            return answered

        return listening

    def _note(self, service: str, operation: str, members: Any, answered: Any) -> None:
        if self._running is None or operation not in self._models[service].operation_names:
            return
        shapes = self._models[service].operation_model(operation)
        noted = self.tests.setdefault(self._running, set())
        decoded = json.loads(payloads.encode(answered))
        for way, shape, value in (("in", shapes.input_shape, members), ("out", shapes.output_shape, decoded)):
            noted |= {Member(service, operation, way, path) for path, _ in given(shape, value)}

    def vector(self, member: Member) -> str | None:
        """The test that is most about the member: it names it, and has to do with few others."""
        name = member.path.rpartition(".")[2].rstrip("[]{}")
        found = [test for test, noted in self.tests.items() if member in noted]
        return min(found, key=lambda test: (name not in self.sources[test], len(self.tests[test]), test), default=None)
