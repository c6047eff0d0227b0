"""Whose claim it is: this installation's with the journal that it has, with one that it lost, or another agent's.

The service keeps a claimant's mark in the status detail `agent`. An installation's id alone does not tell a journal
that was lost from another agent that works with a copy of the file `agent-id`, so the mark names the journal too.
"""

from iot_jobs_agent.core.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Claimant:
    """This installation and its journal. `lost_journals` are the ids of those that it had before."""

    agent_id: str = ""
    journal_id: str = ""
    lost_journals: frozenset[str] = field(default=frozenset())

    @property
    def mark(self) -> str:
        """What the status detail `agent` says of our claims: `AGENT_ID.JOURNAL_ID`."""
        return f"{self.agent_id}.{self.journal_id}" if self.journal_id else self.agent_id

    def shares_id(self, mark: str) -> bool:
        """Return whether the mark has our agent id."""
        return mark.partition(".")[0] == self.agent_id

    def is_ours(self, mark: str) -> bool:
        """Return whether the claim is of this installation, with this journal or one that it lost.

        Up to the build of 2026-11-22, marks named no journal.
        """
        return self.shares_id(mark) and mark.partition(".")[2] in {"", self.journal_id, *self.lost_journals}

    def is_another(self, mark: str) -> bool:
        """Return whether another agent has taken over an execution in our journal. No mark says nothing."""
        return mark != "" and not self.is_ours(mark)
