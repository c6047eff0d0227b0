"""One Chromium for the whole run, a fresh simulator for each test, and what a reader does: look, click, type."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from tests.support.chromium import PHONE, WIDE, SimulatorBeside, chromium, show_as

ARN = "arn:aws:iot:us-east-1:123456789012:"
WAIT_S = 20
FOREIGN = "foreign.example"  # a name that its owner has pointed at this machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, metavar="DIR", help="where the pictures of the page go; else nowhere")


class Reader:
    """Somebody who looks at the page of a simulator."""

    def __init__(self, driver: Chrome, beside: SimulatorBeside) -> None:
        self.driver = driver
        self.beside = beside

    def open(self, path: str = "", size: tuple[int, int] = WIDE, *, is_dark: bool = False) -> None:
        """Open the page afresh, at a hash such as `jobs/J1`, and wait until it is live."""
        show_as(self.driver, size, is_dark=is_dark)
        self.driver.get("about:blank")
        self.driver.get(f"{self.beside.url}/#/{path}")
        self.wait(lambda: self.one("#live").text == "live")

    def wait(self, is_so: Callable[[], Any]) -> Any:
        """Wait until something is true of the page, and return it."""
        return WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05, ignored_exceptions=(Exception,)).until(
            lambda _: is_so()
        )

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The texts of what is shown now, taken at one moment."""
        script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent).map(e => e.innerText)"
        return list(self.driver.execute_script(script, selector))

    def rows(self, list_name: str) -> list[list[str]]:
        """The rows that are drawn, cell by cell, in their order; `list_name` is a selector of the list's holder."""
        script = """
            const rows = [...document.querySelectorAll(`${arguments[0]} .space [role=row]:not([hidden])`)];
            rows.sort((one, other) => one.ariaRowIndex - other.ariaRowIndex);
            return rows.map((row) => [...row.children].map((cell) => cell.innerText));
        """
        return list(self.driver.execute_script(script, list_name))

    def button(self, text: str, within: str = "body") -> WebElement:
        return self.one(within).find_element(By.XPATH, f".//button[normalize-space()='{text}']")

    def fill(self, label: str, text: str) -> None:
        """Type into the field of the dialog that has the label, in place of what is there."""
        path = f"//dialog//label[span='{label}']/*[self::input or self::textarea]"
        field = self.driver.find_element(By.XPATH, path)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What the browser has logged since it was last asked: errors of scripts, what the policy has stopped."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def driver() -> Iterator[Chrome]:
    with chromium(f"host-resolver-rules=MAP {FOREIGN} 127.0.0.1") as running:
        yield running


@pytest.fixture
def beside() -> Iterator[SimulatorBeside]:
    with SimulatorBeside() as running:
        yield running


@pytest.fixture
def reader(driver: Chrome, beside: SimulatorBeside) -> Iterator[Reader]:
    """Somebody who looks at the page of `beside`. At the end, the browser must have nothing to complain of."""
    reader = Reader(driver, beside)
    yield reader
    complaints = reader.complaints()
    driver.get("about:blank")  # or its stream would be there when the simulator ends
    assert complaints == []


@pytest.fixture
def fleet(beside: SimulatorBeside) -> Callable[[int], str]:
    """Makes that many things, in one group; its ARN."""

    def make(size: int) -> str:
        async def create() -> str:
            arn: str = beside.sim.operate("CreateThingGroup", thingGroupName="greenhouses")["thingGroupArn"]
            for number in range(size):
                beside.sim.operate("CreateThing", thingName=f"pump-{number:05}")
                beside.sim.operate("AddThingToThingGroup", thingGroupName="greenhouses", thingName=f"pump-{number:05}")
            return arn

        return str(beside.run(create()))

    return make


@pytest.fixture
def lamp(beside: SimulatorBeside) -> Callable[..., None]:
    """Makes the thing `lamp`, if it is not there, and a job for it with a document and other members."""

    def make(job_id: str = "J1", document: Any = None, **members: Any) -> None:
        arn = beside.operate("CreateThing", thingName="lamp")["thingArn"]
        beside.operate("CreateJob", jobId=job_id, targets=[arn], document=json.dumps(document or {}), **members)
        beside.run(beside.sim.wait_for_status("lamp", job_id, "QUEUED"))

    return make


__all__ = ["ARN", "FOREIGN", "PHONE", "WIDE", "Keys", "Reader"]
