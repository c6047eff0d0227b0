"""stand-in"""
from agent.core.job import AttemptResult


def result_text(result: AttemptResult) -> str:
    return f"{result.ending} {result.code}"


def status_details(**kw) -> dict[str, str]:
    import json
    return {k: (v if isinstance(v, str) else json.dumps(v))[-1024:].replace("\n", " ") for k, v in kw.items() if v}
