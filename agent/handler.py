"""The contract for authors of Python handlers: `Handler`, `Job`, `Outcome`, `HandlerError`, and the manifest.

A handler runs in a process of its own (`agent.worker`), never in the agent. Nothing here imports the agent.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.core.job import OnInterrupt

HANDLER_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"


class Manifest(BaseModel):
    """What a handler declares of itself (docs/handlers.md); durations in seconds, `quota_mb` in MiB.

    Every field but `name` can be overridden by `[handler.NAME]` in the config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=HANDLER_NAME)
    summary: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(default=3600.0, gt=0, le=604800)
    max_timeout_s: float = Field(default=0.0, ge=0, le=604800)
    grace_s: float = Field(default=30.0, ge=0, le=600)
    on_interrupt: OnInterrupt = OnInterrupt.FAIL
    exclusive: bool = False
    may_reboot: bool = False
    retry_limit: int = Field(default=3, ge=0, le=100)
    retry_delay_s: float = Field(default=60.0, ge=0, le=86400)
    quota_mb: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _longest_is_at_least_the_usual(self) -> Self:
        if self.max_timeout_s < self.timeout_s:
            object.__setattr__(self, "max_timeout_s", self.timeout_s)
        return self
