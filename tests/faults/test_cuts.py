"""N3: the connection is cut after every byte, both ways: a seeded sample, all of them with `--full`."""

import random
from collections.abc import Callable
from typing import Any

from proxy import Direction, Limit

SAMPLE = 18
CUTS = 3  # in the life of one agent: with each, its back-off doubles
AT_ONCE = 8


async def test_n3_a_connection_cut_after_any_byte_loses_and_doubles_nothing(
    rigs: Callable[..., Any],
    together: Callable[..., Any],
    chance: random.Random,
    is_full: bool,
    count: Callable[[str], None],
) -> None:
    """N3, T, O, L: MQTT without TLS, so that the bytes are those of its packets, from CONNECT to the last answer."""
    totals = await life(rigs, "whole", [])
    offsets: list[tuple[Direction, int]] = [(way, at) for way in totals for at in range(1, totals[way] + 1)]
    chosen = offsets if is_full else chance.sample(offsets, SAMPLE)
    lives = [chosen[first : first + CUTS] for first in range(0, len(chosen), CUTS)]
    await together([life(rigs, f"life-{number}", cuts) for number, cuts in enumerate(lives)], at_once=AT_ONCE)
    count(f"N3: cut at {len(chosen)} of {len(offsets)} offsets ({totals['up']} bytes up, {totals['down']} down)")


async def life(rigs: Callable[..., Any], name: str, cuts: list[tuple[Direction, int]]) -> dict[Direction, int]:
    """Do jobs over connections of which the first, second, … are cut so, until all were; the bytes of the last one."""
    pi = await rigs(name)
    proxy = await pi.use_proxy(limits={number: Limit(way, at) for number, (way, at) in enumerate(cuts, 1)})
    done = 0
    agent = None
    while not done or proxy.reached < len(cuts):
        done += 1
        pi.create(f"job-{done}", "note")
        agent = agent or await pi.start(is_connected=False)
        await pi.ends(f"job-{done}", "SUCCEEDED")
    assert agent is not None
    await agent.says("settled", times=done, within_s=60)
    for number in range(1, done + 1):
        pi.is_sound(f"job-{number}")
    assert len(proxy.connects) == len(cuts) + 1 or proxy.reached == len(cuts)
    passed = dict(proxy.passed)
    await agent.stop()
    return passed
