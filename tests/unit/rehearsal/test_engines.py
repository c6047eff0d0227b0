"""The kernel says what the core says: execution by execution, to the last bit of each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import CREATED_AT, HOUR_S, fleets, jobs, written

from iot_jobs_simulator.rehearsal import core
from iot_jobs_simulator.rehearsal.answers import answer
from iot_jobs_simulator.rehearsal.array_answers import array_answer
from iot_jobs_simulator.rehearsal.arrays import as_arrays, draw_arrays
from iot_jobs_simulator.rehearsal.fates import draw
from iot_jobs_simulator.rehearsal.fleet import fleet_of
from iot_jobs_simulator.rehearsal.kernel import rehearse_arrays
from iot_jobs_simulator.rehearsal.plan import plan_of

if TYPE_CHECKING:
    from iot_jobs_simulator.model import ServiceApi
    from iot_jobs_simulator.rehearsal.fates import Fates
    from iot_jobs_simulator.rehearsal.fleet import Fleet

FLEET = {
    "groups": {
        "pumps": {
            "size": 1000,
            "duration_min": {"p0": 1, "p50": 4, "p99.9": 30, "p100": 600},
            "offline": {"share": 0.2, "back_after_h": {"p0": 0.5, "p50": 8, "p100": 70}},
            "never_online_share": 0.01,
            "failures": [
                {"cause": "disk full", "share": 0.05},
                {"cause": "stuck", "share": 0.02, "status": "SILENT"},
                {"cause": "too old", "share": 0.02, "status": "REJECTED", "persists": True},
            ],
        },
        "lamps": {
            "size": 501,
            "duration_min": 3,
            "sites": {"size": 50, "offline_share": 0.2, "back_after_h": {"p0": 1, "p100": 900}},
            "failures": [{"cause": "no space", "share": 0.03, "persists": True}],
        },
    },
    "bad_build": {"share": 0.6, "probability": 0.5},
}
JOB: dict[str, Any] = {
    "targets": [f"arn:aws:iot:eu-west-1:1:thinggroup/{name}" for name in ("lamps", "pumps")],
    "timeoutConfig": {"inProgressTimeoutInMinutes": 60},
    "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]},
    "jobExecutionsRolloutConfig": {"maximumPerMinute": 20},
}
ABORT = {
    "abortConfig": {
        "criteriaList": [
            {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 30, "minNumberOfExecutedThings": 50}
        ]
    }
}
NIGHTS = {
    "targetSelection": "CONTINUOUS",
    "schedulingConfig": {
        "startTime": written(1),
        "endTime": written(60),
        "endBehavior": "CANCEL",
        "maintenanceWindows": [{"startTime": "cron(0 22 * * ? *)", "durationInMinutes": 120}],
    },
}


@settings(max_examples=300)
@given(made=fleets(), job=jobs(), hours=st.sampled_from([2, 5, 30]))
def test_the_kernel_says_what_the_core_says_execution_by_execution(
    api: ServiceApi, made: tuple[Fleet, Fates], job: dict[str, Any], hours: int
) -> None:
    fleet, fates = made
    plan = plan_of(job, fleet, CREATED_AT, hours * HOUR_S, api)
    by_core, arrays = core.rehearse(plan, fates, api), as_arrays(fates)
    by_kernel = rehearse_arrays(plan, arrays)
    assert by_kernel.rehearsed() == by_core
    assert array_answer(plan, arrays, by_kernel) == answer(plan, fates, by_core)


@pytest.mark.parametrize("seed", [1, 2, 2**32 - 1])
def test_both_engines_draw_the_same_numbers(seed: int) -> None:
    fleet = fleet_of(FLEET)
    drawn, arrays = as_arrays(draw(fleet, seed, 3)), draw_arrays(fleet, seed, 3)
    assert drawn.is_build_bad == arrays.is_build_bad
    assert np.array_equal(drawn.online_after_s, arrays.online_after_s)
    for here, there in zip(drawn.attempts, arrays.attempts, strict=True):
        assert np.array_equal(here.reaction_s, there.reaction_s)
        assert np.array_equal(here.causes, there.causes)
        assert np.array_equal(here.duration_s, there.duration_s)


@pytest.mark.parametrize("more", [{}, ABORT, NIGHTS, ABORT | NIGHTS], ids=["plain", "abort", "nights", "both"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_engines_give_the_same_answer_for_a_fleet_that_was_drawn(
    api: ServiceApi, more: dict[str, Any], seed: int
) -> None:
    plan = plan_of(JOB | more, fleet_of(FLEET), CREATED_AT, 100 * HOUR_S, api)
    fates, arrays = draw(plan.fleet, seed, plan.attempts), draw_arrays(plan.fleet, seed, plan.attempts)
    said = answer(plan, fates, core.rehearse(plan, fates, api))
    assert said == array_answer(plan, arrays, rehearse_arrays(plan, arrays))
    assert sum(said.endings.values()) == said.things == 1501


def test_a_change_to_one_group_leaves_the_fates_of_the_others_as_they_were() -> None:
    changed = {**FLEET, "groups": {**FLEET["groups"], "pumps": {**FLEET["groups"]["pumps"], "duration_min": 9}}}
    before, after = draw(fleet_of(FLEET), 5, 1), draw(fleet_of(changed), 5, 1)
    assert after.online_after_s == before.online_after_s
    assert after.attempts[0].causes == before.attempts[0].causes
    assert after.attempts[0].duration_s[1000:] == before.attempts[0].duration_s[1000:]
    assert after.attempts[0].duration_s[:1000] == [540.0] * 1000
