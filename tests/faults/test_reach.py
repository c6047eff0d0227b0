"""N7, N8: the endpoint cannot be found, is not whom it should be, or closes every connection."""

import datetime as dt
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from proxy import Limit, running_proxy
from rig import Rig, stopped

CONNECTS = 4  # looked at: with the back-off doubled each time, about 5 s
CONNACK_BYTES = 4
NOW = dt.datetime.now(tz=dt.UTC)
DAY = dt.timedelta(days=1)


SAID = {
    "expired": "is not valid at the time of this device's clock",
    "not-yet-valid": "is not valid at the time of this device's clock",
    "of-another-ca": "is not the authority of localhost port",
    "of-another-name": "is for another name",
}


async def test_n7_a_name_that_cannot_be_resolved_and_certificates_that_are_wrong_are_outlasted(
    rigs: Callable[..., Any], watchdogs: Callable[..., Any], together: Callable[..., Any], tmp_path: Path
) -> None:
    """N7, L, W: the agent says what to look at, stays ready, and works as soon as it is mended, without a restart."""
    authority = trustme.CA()
    (tmp_path / "trusted.pem").write_bytes(authority.cert_pem.bytes())
    good = authority.issue_cert("localhost", "broker.test")
    bad = {
        "expired": authority.issue_cert("localhost", not_before=NOW - 2 * DAY, not_after=NOW - DAY),
        "not-yet-valid": authority.issue_cert("localhost", not_before=NOW + DAY, not_after=NOW + 2 * DAY),
        "of-another-ca": trustme.CA().issue_cert("localhost"),
        "of-another-name": authority.issue_cert("other.test"),
    }
    pis = {name: await rigs(name, connect_timeout_s=1) for name in (*bad, "unknown-name")}
    cases = [wrong_certificate(pis[name], each, good, watchdogs(), SAID[name]) for name, each in bad.items()]
    await together([*cases, unknown_name(pis["unknown-name"], good, watchdogs())], at_once=5)


def server(pi: Rig, certificate: trustme.LeafCert) -> ssl.SSLContext:
    """TLS as a broker does it: the agent's client, once it has a certificate, ends with a server that wants none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.load_verify_locations(pi.sim.certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def wrong_certificate(pi: Rig, bad: trustme.LeafCert, good: trustme.LeafCert, watchdog: Any, hint: str) -> None:
    pi.create("job-1", "note")
    pi.device.sections["aws"]["root_ca"] = str(pi.directory.parent / "trusted.pem")
    async with running_proxy(pi.sim.mqtt_port, tls=server(pi, bad)) as proxy:
        port = pi.device.sections["aws"]["port"] = proxy.port
        agent = await pi.start(is_connected=False, environment=watchdog.environment)
        said = await agent.says("cannot connect, trying again")
        assert hint in said["hint"], said
    assert pi.status("job-1") == "QUEUED"
    async with running_proxy(pi.sim.mqtt_port, tls=server(pi, good), port=port):
        await pi.ends("job-1", "SUCCEEDED")
        watchdog.was_fed(agent)
        await stopped(agent)


async def unknown_name(pi: Rig, good: trustme.LeafCert, watchdog: Any) -> None:
    """In a mount namespace of its own, with a hosts file of its own."""
    pi.create("job-1", "note")
    hosts = pi.directory / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    async with running_proxy(pi.sim.mqtt_port, tls=server(pi, good)) as proxy:
        pi.device.sections["aws"] |= {"endpoint": "broker.test", "port": proxy.port, "https_endpoint": "localhost"}
        pi.device.sections["aws"]["root_ca"] = str(pi.directory.parent / "trusted.pem")
        agent = await pi.start(
            is_connected=False,
            environment=watchdog.environment,
            command=in_namespace(f"mount --bind {hosts} /etc/hosts"),
        )
        said = await agent.says("cannot connect, trying again")
        assert "DNS" in said["hint"], said
        hosts.write_text("127.0.0.1 localhost broker.test\n")
        await pi.ends("job-1", "SUCCEEDED")
        watchdog.was_fed(agent)
        await stopped(agent)


def in_namespace(change: str) -> tuple[str, ...]:
    """Return what starts an agent with mounts of its own."""
    script = f'{change} && exec "$@"'
    return (
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        "iot_jobs_agent",
    )


async def test_n8_field_b2_a_server_that_closes_each_connection_is_never_tried_twice_within_a_second(
    rigs: Callable[..., Any], together: Callable[..., Any], count: Callable[[str], None]
) -> None:
    """N8, L, B: at once, and after its CONNACK. The times are those of the connects that arrive."""
    gaps: list[list[float]] = []
    pis = [await rigs(name) for name in ("at-once", "after-connack")]
    await together([closing(pi, gaps, at_once=pi is pis[0]) for pi in pis])
    for each in gaps:
        assert all(0.95 * 2**number < gap for number, gap in enumerate(each)), each  # 50 to 100 % of 2, 4, 8 … s
    first, second = gaps
    assert len({round(one / other, 3) for one, other in zip(first, second, strict=True)}) > 1, gaps  # jitter
    count("N8: seconds between connects " + "; ".join(" ".join(f"{gap:.1f}" for gap in each) for each in gaps))


async def closing(pi: Rig, gaps: list[list[float]], *, at_once: bool) -> None:
    limits = {number: Limit("down", CONNACK_BYTES) for number in range(1, 100)}
    proxy = await pi.use_proxy(closes_at_once=at_once, limits=limits)
    agent = await pi.start(is_connected=False)
    await proxy.wait_until(lambda: len(proxy.connects) >= CONNECTS)
    gaps.append([later - earlier for earlier, later in zip(proxy.connects, proxy.connects[1:], strict=False)])
    descriptors = len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))
    assert descriptors < 40, descriptors
    await stopped(agent)
