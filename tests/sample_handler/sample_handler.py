"""Count words: a handler in a package of its own, as a team would ship it."""

from pydantic import BaseModel, Field

from iot_jobs_agent.handler import Handler, Job, Outcome


class Params(BaseModel, frozen=True, extra="forbid"):
    text: str = Field(description="whose words are counted")


def count(params: Params, job: Job) -> Outcome:
    job.progress(50, "counting")
    return Outcome.succeeded(words=len(params.text.split()))


HANDLER = Handler(name="sample-count", params=Params, run=count, summary="Count words.", timeout_s=30, grace_s=5)
