"""The simulator's page in a real Chromium: what one sees, what one does, and what nobody else can do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from tests.support.chromium import PHONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Reader
    from tests.support.chromium import SimulatorBeside

FOREIGN = "foreign.example"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_jobs_and_executions_are_seen_while_they_change(
    reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]
) -> None:
    reader.open()
    assert reader.wait(lambda: "No jobs yet" in reader.one("#list .empty").text)
    lamp("greet")
    reader.wait(lambda: reader.rows("#list")[0][:2] == ["greet", "IN_PROGRESS"])
    assert reader.one("#total-jobs").text == "1"
    reader.one("#list .space [role=row]").click()
    reader.wait(lambda: reader.rows("#detail")[0][:2] == ["lamp", "QUEUED"])
    beside.operate("StartNextPendingJobExecution", thingName="lamp")
    reader.wait(lambda: reader.rows("#detail")[0][:2] == ["lamp", "IN_PROGRESS"])
    beside.operate("UpdateJobExecution", thingName="lamp", jobId="greet", status="SUCCEEDED")
    reader.wait(lambda: reader.rows("#detail")[0][:2] == ["lamp", "SUCCEEDED"])
    reader.wait(lambda: reader.rows("#list")[0][1] == "COMPLETED")
    assert reader.one("#list .share").get_attribute("aria-label") == "1 SUCCEEDED"


def test_a_rollout_is_drawn_in_time(reader: Reader, beside: SimulatorBeside, fleet: Callable[[int], str]) -> None:
    targets = [fleet(20)]
    rate = {"maximumPerMinute": 5}
    beside.operate("CreateJob", jobId="J1", targets=targets, document="{}", jobExecutionsRolloutConfig=rate)
    beside.pass_time(30)
    for number, status in enumerate(("SUCCEEDED", "SUCCEEDED", "FAILED")):
        beside.operate("UpdateJobExecution", thingName=f"pump-{number:05}", jobId="J1", status=status)
    beside.pass_time(40)
    reader.open("jobs/J1")
    words = "At its end: 2 SUCCEEDED, 1 FAILED, 7 QUEUED"
    reader.wait(lambda: words in str(reader.one(".chart").get_attribute("aria-label")))
    drawn = {each.get_attribute("class"): each for each in reader.driver.find_elements(By.CSS_SELECTOR, ".chart .area")}
    assert set(drawn) == {"area SUCCEEDED", "area FAILED", "area QUEUED"}
    tops = [float(spot.split(",")[1]) for spot in str(drawn["area QUEUED"].get_attribute("points")).split()][:240]
    assert tops == sorted(tops, reverse=True)  # of y: the pile of all executions only grows
    assert len(set(tops)) == 2  # five were queued at first, and five a minute later
    assert reader.one(".summary").text == "10 executions: 2 SUCCEEDED, 1 FAILED, 7 QUEUED, 10 still to be queued"


def test_an_execution_is_shown_with_its_messages_as_text(
    reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]
) -> None:
    lamp("J1", {"operation": HOSTILE}, description="a description")
    beside.operate("StartNextPendingJobExecution", thingName="lamp", statusDetails={"said": HOSTILE})
    beside.run(_forge(beside, HOSTILE))
    reader.open("jobs/J1/things/lamp")
    reader.wait(lambda: HOSTILE in reader.texts(".facts dd"))
    reader.wait(lambda: len(reader.driver.find_elements(By.CSS_SELECTOR, ".messages > li")) == 2)
    for each in reader.driver.find_elements(By.CSS_SELECTOR, ".messages summary"):
        each.click()
    topics, shown = reader.texts(".messages code"), "\n".join(reader.texts(".messages pre"))
    assert "$aws/things/lamp/jobs/notify-next" in topics
    assert shown.count(json.dumps(HOSTILE)[1:-1]) >= 2
    reader.driver.get(f"{beside.url}/#/jobs/J1")
    reader.wait(
        lambda: (
            "a description"
            in "".join(
                str(each.get_attribute("textContent"))
                for each in reader.driver.find_elements(By.CSS_SELECTOR, ".facts dd")
            )
        )
    )
    assert "owned" not in reader.driver.title
    assert reader.driver.find_elements(By.CSS_SELECTOR, "main img, main script") == []


async def _forge(beside: SimulatorBeside, text: str) -> None:
    topic, payload = "$aws/things/lamp/jobs/J1/update", json.dumps({"status": text}).encode()
    beside.sim._mqtt._on_request("lamp", topic, payload, lambda _topic, _payload: None)


def test_a_job_is_created_from_a_document(reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]) -> None:
    lamp("other")
    reader.open()
    reader.button("Create a job").click()
    reader.wait(lambda: reader.button("thing/lamp", "dialog")).click()
    reader.fill("jobId", "by-hand")
    reader.fill("document", '{"operation": ')
    reader.fill("Further members", '{"targetSelection": "CONTINUOUS"}')
    reader.button("Create", "dialog").click()
    reader.wait(lambda: "InvalidRequestException" in reader.one("dialog .problem").text)
    assert all("400 (Bad Request)" in each for each in reader.complaints())
    reader.fill("document", '{"operation": "it\'s"}')
    reader.one("dialog details summary").click()
    assert "it'\\''s" in reader.one("dialog pre").text
    reader.button("Create", "dialog").click()
    reader.wait(lambda: reader.rows("#detail")[0][:2] == ["lamp", "QUEUED"])
    job = beside.operate("DescribeJob", jobId="by-hand")["job"]
    assert (job["targetSelection"], job["targets"][0].rpartition(":")[2]) == ("CONTINUOUS", "thing/lamp")
    assert beside.operate("GetJobDocument", jobId="by-hand")["document"] == '{"operation": "it\'s"}'


def test_a_job_is_created_from_a_template(reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]) -> None:
    lamp("other")
    reader.open()
    reader.button("Create a job").click()
    reader.wait(lambda: reader.button("thing/lamp", "dialog")).click()
    reader.fill("jobId", "from-template")
    Select(reader.one("dialog select")).select_by_visible_text("AWS-Run-Command")
    reader.fill("documentParameters", '{"command": "echo"}')
    reader.button("Create", "dialog").click()
    reader.wait(lambda: reader.rows("#detail")[0][:2] == ["lamp", "QUEUED"])
    assert "AWS-Run-Command" in beside.operate("DescribeJob", jobId="from-template")["job"]["jobTemplateArn"]


def test_what_runs_is_canceled_by_force_only(
    reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]
) -> None:
    lamp("J1")
    reader.open("jobs/J1/things/lamp")
    reader.wait(lambda: reader.button("Cancel", "#detail").is_enabled())
    beside.operate("StartNextPendingJobExecution", thingName="lamp")
    reader.wait(lambda: not reader.button("Cancel", "#detail").is_enabled())
    reader.button("Cancel by force", "#detail").click()
    reader.button("CancelJobExecution force", "dialog").click()
    reader.wait(lambda: reader.one("#detail .pill").text == "CANCELED")
    lamp("J2")
    reader.driver.get(f"{beside.url}/#/jobs/J2")
    reader.wait(lambda: reader.one("#detail h2").text == "J2" and reader.button("Cancel", "#detail").is_enabled())
    reader.button("Cancel", "#detail").click()
    reader.fill("comment", "no more")
    reader.button("CancelJob", "dialog").click()
    reader.wait(lambda: reader.one("#detail .pill").text == "CANCELED")
    assert beside.operate("DescribeJob", jobId="J2")["job"]["comment"] == "no more"
    reader.button("Delete", "#detail").click()
    reader.button("DeleteJob force", "dialog").click()
    reader.wait(lambda: [row[0] for row in reader.rows("#list")] == ["J1"])


def test_the_clock_is_put_forward(reader: Reader, beside: SimulatorBeside, lamp: Callable[..., None]) -> None:
    lamp("J1", timeoutConfig={"inProgressTimeoutInMinutes": 90})
    beside.operate("StartNextPendingJobExecution", thingName="lamp")
    reader.open("jobs/J1/things/lamp")
    reader.wait(lambda: reader.one("#detail .pill").text == "IN_PROGRESS")
    reader.one("#clock").click()
    reader.button("1 d", "dialog").click()
    reader.button("Put forward", "dialog").click()
    reader.wait(lambda: reader.one("#detail .pill").text == "TIMED_OUT")


def test_a_fault_is_switched_on_and_cleared(reader: Reader, beside: SimulatorBeside) -> None:
    reader.open("faults")
    Select(reader.one("#list select")).select_by_visible_text("reject")
    reader.button("Switch on", "#list").click()
    reader.wait(lambda: '"kind":"reject"' in reader.one(".faults code").text)
    assert [fault["kind"] for fault in beside.sim.faults.listed()] == ["reject"]
    assert reader.one("#total-faults").text == "1"
    text = reader.one("#list textarea")
    text.clear()
    text.send_keys('{"kind": "nonsense"}')
    reader.button("Switch on", "#list").click()
    reader.wait(lambda: "nonsense" in reader.one("#list .problem").text)
    reader.button("Clear", ".faults").click()
    reader.wait(lambda: "No fault is switched on" in reader.one(".faults").text)
    assert beside.sim.faults.listed() == []
    assert all("400 (Bad Request)" in each for each in reader.complaints())


def test_more_pages_are_open_than_a_browser_has_connections(reader: Reader, lamp: Callable[..., None]) -> None:
    first = reader.driver.current_window_handle
    lamp("J1")
    for _ in range(8):
        reader.driver.switch_to.new_window("tab")
        reader.open()
        reader.wait(lambda: reader.rows("#list")[0][:2] == ["J1", "IN_PROGRESS"])
    for handle in set(reader.driver.window_handles) - {first}:
        reader.driver.switch_to.window(handle)
        reader.driver.close()
    reader.driver.switch_to.window(first)


@pytest.mark.timeout(300)  # to make 100,000 executions takes a while
def test_only_what_is_in_view_is_drawn_of_100_000_executions(
    reader: Reader, beside: SimulatorBeside, fleet: Callable[[int], str]
) -> None:
    targets = [fleet(100_000)]
    beside.operate("CreateJob", jobId="J1", targets=targets, document="{}")
    beside.pass_time(100 * 60)
    reader.open("jobs/J1")
    grid = reader.wait(lambda: reader.one("#detail [role=grid][aria-rowcount='100001']"))
    assert reader.rows("#detail")[0][:2] == ["pump-00000", "QUEUED"]
    grid.send_keys(Keys.END)
    reader.wait(lambda: reader.rows("#detail")[-1][0] == "pump-99999")
    drawn = reader.driver.find_elements(By.CSS_SELECTOR, "#detail .space [role=row]")
    assert len(drawn) < 60
    active = reader.one(f"#{grid.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("aria-rowindex") == "100001"
    grid.send_keys(Keys.PAGE_UP)
    above = int(str(reader.one(f"#{grid.get_attribute('aria-activedescendant')}").get_attribute("aria-rowindex")))
    assert 99_900 < above < 100_001
    beside.operate("CancelJobExecution", jobId="J1", thingName="pump-50000")
    Select(reader.one("#detail select")).select_by_value("CANCELED")
    reader.wait(lambda: [row[0] for row in reader.rows("#detail")] == ["pump-50000"])


def test_all_of_it_can_be_done_with_the_keyboard(reader: Reader, lamp: Callable[..., None]) -> None:
    for job_id in ("J1", "J2", "J3"):
        lamp(job_id)
    reader.open()
    reader.wait(lambda: len(reader.rows("#list")) == 3)
    reader.press(Keys.TAB)
    assert reader.driver.switch_to.active_element.text == "Skip to the list"
    reader.press(Keys.ENTER)
    reader.press(Keys.TAB, Keys.TAB)
    assert reader.driver.switch_to.active_element.get_attribute("role") == "grid"
    reader.press(Keys.ARROW_DOWN, Keys.ENTER)
    reader.wait(lambda: reader.one("#detail h2").text == "J2")
    assert [
        row.get_attribute("aria-selected")
        for row in reader.driver.find_elements(By.CSS_SELECTOR, "#list .space [role=row]:not([hidden])")
    ] == ["false", "true", "false"]
    while reader.driver.switch_to.active_element.text != "Cancel":
        reader.press(Keys.TAB)
    reader.press(Keys.ENTER)
    reader.wait(lambda: reader.one("dialog[open]"))
    reader.press(Keys.ESCAPE)
    reader.wait(lambda: not reader.driver.find_elements(By.CSS_SELECTOR, "dialog[open]"))
    assert reader.driver.switch_to.active_element.text == "Cancel"


def test_a_phone_shows_the_list_or_the_detail_and_nothing_sticks_out(reader: Reader, lamp: Callable[..., None]) -> None:
    lamp("a-job-with-a-name-that-is-as-long-as-a-name-of-a-job-can-be-----")
    reader.open(size=PHONE)
    reader.wait(lambda: reader.rows("#list"))
    width = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert reader.driver.execute_script(width) == [390, 390]
    assert not reader.one("#detail").is_displayed()
    reader.one("#list .space [role=row]").click()
    reader.wait(lambda: reader.rows("#detail"))
    assert (reader.one("#list").is_displayed(), reader.one("#detail").is_displayed()) == (False, True)
    assert reader.driver.execute_script(width) == [390, 390]
    reader.one("#detail .back").click()
    reader.wait(lambda: reader.one("#list").is_displayed())


def test_it_is_dark_where_the_reader_wants_that(reader: Reader) -> None:
    color = "return getComputedStyle(document.body).backgroundColor"
    reader.open()
    light = reader.driver.execute_script(color)
    reader.open(is_dark=True)
    assert [light, reader.driver.execute_script(color)] == ["rgb(244, 245, 248)", "rgb(18, 20, 26)"]


class _ForeignPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title>")

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def foreign_port() -> Iterator[int]:
    """The port of another site on this machine."""
    with HTTPServer(("127.0.0.1", 0), _ForeignPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


TRY = """
    const [url, signature, done] = arguments;
    const body = JSON.stringify({kind: "crash"});
    const frame = document.createElement("iframe");
    frame.src = url;
    const framed = new Promise((resolve) => { frame.onload = resolve; });
    document.documentElement.append(frame);
    const tries = [
      fetch(`${url}/_simulator/faults`, {method: "POST", body, mode: "no-cors"}),
      fetch(`${url}/_simulator/faults`, {method: "POST", body}),
      fetch(`${url}/things/owned`, {method: "POST", body: "{}", headers: {Authorization: signature}}),
      fetch(`${url}/_simulator/page/rows/jobs`),
    ];
    framed.then(() => Promise.allSettled(tries)).then((all) => done(all.map(({value}) => Boolean(value && value.ok))));
"""
SIGNATURE = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iot/aws4_request"


@pytest.mark.parametrize("is_rebound", [False, True])
def test_no_other_site_reads_or_changes_anything(
    reader: Reader, beside: SimulatorBeside, foreign_port: int, *, is_rebound: bool
) -> None:
    port = beside.url.rpartition(":")[2]
    if is_rebound:  # the other site's name leads to the simulator, so that its pages are of the same origin
        url = f"http://{FOREIGN}:{port}"
        reader.driver.get(f"{url}/_simulator/clock")
    else:
        url = beside.url
        reader.driver.get(f"http://{FOREIGN}:{foreign_port}/")
    assert reader.driver.execute_async_script(TRY, url, SIGNATURE) == [False] * 4
    assert beside.sim.faults.listed() == []
    assert not beside.sim.store.registry.exists("owned")
    assert is_rebound or any("frame-ancestors" in each for each in reader.complaints())
    reader.complaints()  # about what it tried
