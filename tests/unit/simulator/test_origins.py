"""Which requests of pages in a browser are let in: those of a page that can only be the simulator's own."""

import pytest

from iot_jobs_simulator.http.origins import client_problem, host_problem, page_problem

LOCAL = ("127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1", "192.168.7.9:80", "pi:8080")
# Names of others, which may point at this machine; what looks like an address or a name of ours, but is not; nonsense.
FOREIGN = (
    "rebound.example:8080", "127.0.0.1.example:8080", "localhost.example", "127.0.0.1:8080@evil.example", "", ":8080",
    "[::1", "::1", "0x7f.1:8080", "127.0.0.1:8080:1", "evil.example/127.0.0.1", "xlocalhost", "[localhost.example]",
)  # fmt: skip


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_own_page_is_let_in_at_an_address_at_localhost_or_at_the_name_that_was_bound(
    host: str, scheme: str
) -> None:
    headers = {"Host": host, "Origin": f"{scheme}://{host}", "Sec-Fetch-Site": "same-origin"}
    assert host_problem(headers, "pi") == page_problem(headers, "pi") == client_problem(headers, "pi") == ""
    assert page_problem({"Host": host, "Sec-Fetch-Site": "same-origin"}, "pi") == ""


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_at_a_name_that_may_be_anybodys_is_refused(host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert "another site may own it" in host_problem(headers, "pi")
    assert "may not control" in page_problem(headers, "pi")
    assert "may not control" in page_problem({"Host": host, "Origin": f"http://{host}"}, "pi")
    assert "may not control" in page_problem({"Host": host, "Sec-Fetch-Site": "same-origin"}, "pi")


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("http://evil.example", "cross-site"),
        ("http://evil.example", None),
        ("null", None),
        ("http://127.0.0.1:3000", "same-site"),
        ("http://127.0.0.1", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://127.0.0.1:8080", "cross-site"),
    ],
)
def test_another_page_is_refused_at_the_right_host(origin: str | None, site: str | None) -> None:
    given = {"Host": "127.0.0.1:8080", "Origin": origin, "Sec-Fetch-Site": site}
    assert "may not control" in page_problem({name: value for name, value in given.items() if value}, "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "simulator:8080", "data.jobs.iot.us-east-1.amazonaws.com"])
def test_what_is_not_a_page_is_let_in_under_any_name(host: str) -> None:
    assert page_problem({"Host": host}, "127.0.0.1") == ""
    assert page_problem({"Host": host, "Sec-Fetch-Site": "none"}, "127.0.0.1") == ""
    assert client_problem({"Host": host}, "127.0.0.1") == ""


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1:5173"])
def test_mqtt_over_websocket_is_for_pages_of_this_machine(origin: str) -> None:
    assert client_problem({"Origin": origin, "Host": "127.0.0.1:8080"}, "127.0.0.1") == ""


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://[", "file://"])
def test_mqtt_over_websocket_is_for_no_other_page(origin: str) -> None:
    assert "only if it comes from" in client_problem({"Origin": origin}, "127.0.0.1")
