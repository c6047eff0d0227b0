"""Siblings of the documents that came from outside: what they lead to, if one does what each reason says.

Each is judged by the real judge, with the configuration as the real loader reads it from a file.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.advice import ANY_HANDLER, Owner, configured, corrected
from tests.support.siblings import BACKUP, E1, E4, E5, E6, SIBLINGS, Sibling, said

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Plan, Refusal
from iot_jobs_agent.judge import Judge

MOST_REASONS = 8


def name(sibling: Sibling) -> str:
    return sibling.id


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    made = Owner(tmp_path)
    for script in ("deploy.sh", "backup"):
        (made.handlers / script).write_text("#!/bin/sh\n")
        (made.handlers / script).chmod(0o755)
    (made.handlers / "backup.manifest.json").write_text(json.dumps({"name": "backup", "params": BACKUP}))
    return made


async def judged(document: Any, owner: Owner) -> Plan | Refusal:
    config = load_handlers(owner.write())
    found = ServiceExecution(ExecutionId("", "job-1", 1), ExecutionStatus.QUEUED, 1, "", document)
    return (await Judge(config, Catalog(config)).verdict(found))[0]


@pytest.mark.parametrize("sibling", SIBLINGS, ids=name)
async def test_whoever_follows_each_reason_gets_what_the_author_meant(sibling: Sibling, owner: Owner) -> None:
    verdict, refusals = await followed(sibling, owner)
    assert said(verdict) == sibling.runs
    assert (refusals[0] if refusals else "").startswith(sibling.refusal)
    assert bool(refusals) is bool(sibling.refusal)


@pytest.mark.parametrize("sibling", [*E1, *E4, *E6], ids=name)
async def test_whoever_maps_what_a_reason_says_can_be_mapped_gets_the_same_from_another_handler(
    sibling: Sibling, owner: Owner
) -> None:
    verdict, _ = await followed(sibling, owner, prefer_mapping=True)
    assert said(verdict) == [re.sub(r"^(?!run-command)[^ \[]+", ANY_HANDLER, run) for run in sibling.runs]


async def followed(sibling: Sibling, owner: Owner, *, prefer_mapping: bool = False) -> tuple[Plan, list[str]]:
    """Do what each reason says until there is a plan; return it, and the reasons that asked for another document."""
    document, refusals = sibling.document, list[str]()
    for _ in range(MOST_REASONS):
        verdict = await judged(document, owner)
        if isinstance(verdict, Plan):
            return verdict, refusals
        assert "secret" not in verdict.reason
        is_misspelt = "spell it so" in verdict.reason
        if is_misspelt or not configured(verdict.reason, document, owner, prefer_mapping=prefer_mapping):
            refusals.append(verdict.reason)
            better = corrected(verdict.reason, document) if sibling.by_hand is None else sibling.by_hand
            assert better != document, verdict.reason
            document = better
    pytest.fail(f"the reasons lead nowhere: {verdict}")


@pytest.mark.parametrize("sibling", E5, ids=name)
async def test_what_is_of_another_agent_is_left_alone(sibling: Sibling, owner: Owner) -> None:
    verdict = await judged(sibling.document, owner)
    assert isinstance(verdict, Refusal)
    assert verdict.is_unknown


def test_each_row_has_five_siblings_and_each_sibling_one_name() -> None:
    rows = Counter(sibling.id.partition("-")[0] for sibling in SIBLINGS)
    assert set(rows) == {f"e{number}" for number in range(1, 9)}
    assert min(rows.values()) >= 5
    assert len({sibling.id for sibling in SIBLINGS}) == len(SIBLINGS)
