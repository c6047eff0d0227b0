"""N2: a connection that is half open. Nothing arrives, nothing is closed; only the keep-alive can tell."""

from collections.abc import Callable
from typing import Any

from proxy import Limit, Proxy
from rig import Rig

KEEP_ALIVE_S = 5
CONNACK_BYTES = 4


async def test_n2_half_open_tcp_during_subscribe_publish_and_handler_is_noticed_and_left_behind(
    rigs: Callable[..., Any], watchdogs: Callable[..., Any], together: Callable[..., Any]
) -> None:
    """N2, L, W: the agent notices by keep-alive, connects again, goes on; its loop never stalls."""
    await together(
        [
            watched(moment, await rigs(moment.__name__, keep_alive_s=KEEP_ALIVE_S), watchdogs())
            for moment in (during_subscribe, during_publish, during_handler)
        ]
    )


async def watched(moment: Callable[..., Any], pi: Rig, watchdog: Any) -> None:
    proxy = await pi.use_proxy()
    agent = await moment(pi, proxy, watchdog.environment)
    assert len(proxy.connects) == 2
    watchdog.was_fed(agent)


async def during_subscribe(pi: Rig, proxy: Proxy, environment: dict[str, str]) -> Any:
    """The CONNACK still comes, and nothing after it."""
    proxy.limits[1] = Limit("down", CONNACK_BYTES, is_cut=False)
    pi.create("job-1", "note")
    agent = await pi.start(is_connected=False, environment=environment)
    await agent.says("connection lost", within_s=30)
    await pi.ends("job-1", "SUCCEEDED")
    return agent


async def during_publish(pi: Rig, proxy: Proxy, environment: dict[str, str]) -> Any:
    """The agent publishes a report that never arrives."""
    agent = await pi.start(environment=environment)
    pi.create("job-1", "gated")
    await pi.hears("job-1 begun")
    proxy.limits[1] = Limit("up", proxy.passed["up"], is_cut=False)
    pi.open_gate("job-1")
    await proxy.wait_until(lambda: proxy.reached)
    await agent.says("connection lost", within_s=30)
    await pi.ends("job-1", "SUCCEEDED")
    return agent


async def during_handler(pi: Rig, proxy: Proxy, environment: dict[str, str]) -> Any:
    """A notification never comes; the handler goes on, ends, and its outcome waits for the next connection."""
    agent = await pi.start(environment=environment)
    pi.create("job-1", "gated")
    await pi.hears("job-1 begun")
    proxy.stall()
    pi.create("job-2", "note")
    pi.open_gate("job-1")
    await agent.says("succeeded")
    assert pi.status("job-1") == "IN_PROGRESS"
    await agent.says("connection lost", within_s=30)
    await pi.ends("job-1", "SUCCEEDED")
    await pi.ends("job-2", "SUCCEEDED")
    return agent
