"""The same world, driven by Hypothesis: fewer lives, but one that goes wrong is cut down to what matters."""

from __future__ import annotations

import random
from typing import Any

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.faults.model.lives import BEFALLS, DEVICE, NETWORK, SYSTEMD, a_world, befall, come_to_rest, create

STEPS = 25


class Machine(RuleBasedStateMachine):
    """A rule is something that happens; all its consequences follow in time."""

    lives = 0

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        type(self).lives += 1
        self.world = a_world(lambda kind: random.Random(f"{seed}/{kind}"), {})

    @rule(n=st.integers(0, 5), namespace=st.sampled_from(["", "team-a"]), retries=st.integers(0, 2))
    def job(self, n: int, namespace: str, retries: int) -> None:
        create(self.world, f"job-{n}", namespace, 0, retries)

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.5, 2.0, 15.0, 70.0, 4000.0]))
    def time(self, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)

    @rule(kind=st.sampled_from([*NETWORK, *DEVICE, *SYSTEMD]), rate=st.sampled_from([0.0, 0.5, 1.0]))
    def trouble(self, kind: str, rate: float) -> None:
        self.world.luck.rates[kind] = rate

    @rule(kind=st.sampled_from(BEFALLS), seconds=st.sampled_from([0.0, 0.005, 0.05, 1.0]))
    def fault(self, kind: str, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)
        befall(self.world, kind)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            come_to_rest(self.world)


def searched(seed: int, examples: int) -> tuple[int, str]:
    """Return how many lives Hypothesis made up, and the smallest that went wrong, in its words, or ""."""
    Machine.lives = 0
    found: list[str] = []
    profile = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    machine: Any = hypothesis.seed(seed)(Machine)
    try:
        run_state_machine_as_test(machine, settings=profile)
    except Exception as error:  # noqa: BLE001 - whatever breaks is what is looked for
        found = [str(error), *getattr(error, "__notes__", [])]
    return Machine.lives, "\n".join(found)
