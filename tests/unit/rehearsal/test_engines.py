"""The kernel says what the core says: execution by execution, to the last bit of each time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import CREATED_AT, HOUR_S, fleets, jobs

from iot_jobs_simulator.rehearsal import core
from iot_jobs_simulator.rehearsal.arrays import as_arrays
from iot_jobs_simulator.rehearsal.kernel import rehearse_arrays
from iot_jobs_simulator.rehearsal.plan import plan_of

if TYPE_CHECKING:
    from iot_jobs_simulator.model import ServiceApi
    from iot_jobs_simulator.rehearsal.fates import Fates
    from iot_jobs_simulator.rehearsal.fleet import Fleet

SEEN: Counter[str] = Counter()


@settings(max_examples=100)
@given(made=fleets(), job=jobs(), hours=st.sampled_from([2, 7, 30]))
def test_the_kernel_says_what_the_core_says_execution_by_execution(
    api: ServiceApi, made: tuple[Fleet, Fates], job: dict[str, Any], hours: int
) -> None:
    fleet, fates = made
    plan = plan_of(job, fleet, CREATED_AT, hours * HOUR_S, api)
    by_core = core.rehearse(plan, fates, api)
    by_kernel = rehearse_arrays(plan, as_arrays(fates)).rehearsed()
    assert by_kernel == by_core
    SEEN.update(str(row.status) for row in by_core.rows)
    SEEN.update(["aborted"] * (by_core.aborted_at is not None))
