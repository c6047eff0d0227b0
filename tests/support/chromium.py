"""A real Chromium without a screen, and a simulator beside it that does not wait for the test."""

import asyncio
import os
import shutil
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from iot_jobs_simulator.server import RunningSimulator, running_simulator

WIDE: Final = (1280, 800)
PHONE: Final = (390, 844)


@contextmanager
def chromium(*switches: str) -> Iterator[webdriver.Chrome]:
    """Start Debian's Chromium by its own driver; nothing is downloaded."""
    driver_path = shutil.which("chromedriver")
    if driver_path is None:
        raise RuntimeError("There is no chromedriver; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    for switch in ("headless=new", "disable-dev-shm-usage", "hide-scrollbars=false", *switches):
        options.add_argument(f"--{switch}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield driver
    finally:
        driver.quit()


def show_as(driver: webdriver.Chrome, size: tuple[int, int] = WIDE, *, is_dark: bool = False) -> None:
    """Have the page shown in a window of that size in CSS pixels, light or dark."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


class SimulatorBeside:
    """A simulator in a thread of its own. What is done to it happens there, and is over on return."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.sim: RunningSimulator

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_up.wait()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where its page is, without a slash at the end."""
        return self.sim.http_url

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the simulator's event loop, and return what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(300)

    def operate(self, operation: str, **members: Any) -> Any:
        """Perform an operation of the control plane, or of the data plane if it is one of a device."""

        async def perform() -> Any:
            if operation in ("StartNextPendingJobExecution", "UpdateJobExecution"):
                return self.sim._service.answer_device(operation, members, {})
            return self.sim.operate(operation, **members)

        return self.run(perform())

    def pass_time(self, seconds: float) -> None:
        """Put the clock forward."""
        self.run(self.sim.advance_clock(seconds))

    async def _serve(self) -> None:
        async with running_simulator() as self.sim:
            self._is_up.set()
            await self._ended.wait()
