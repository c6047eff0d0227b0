"""stand-in"""
from agent.core.job import AttemptResult, Ending, ExecutionStatus, Outcome


def outcome_of(result: AttemptResult, *, may_reboot: bool = False) -> Outcome:
    if result.ending is Ending.EXITED and result.code == 0:
        return Outcome(ExecutionStatus.SUCCEEDED)
    return Outcome(ExecutionStatus.FAILED, f"ended: {result.ending} {result.code} {result.reason}", str(result.ending))
