"""Draw the states of an execution: `uv run python docs/pictures/states.py` brings the page up to date.

The table at the head of `iot_jobs_agent.core.decide` is the source; docs/architecture.md has the picture.
"""

from pathlib import Path

from iot_jobs_agent.core import decide

PAGE = Path(__file__).parents[1] / "architecture.md"
COLUMNS = 4
START, END = "(pending)", "-"
WAITING = ("Delayed", "Rebooting")  # what the table calls "either"


def rows() -> list[tuple[str, str, str]]:
    """Return the table's phases, events and next phases."""
    lines = [line.split("|") for line in (decide.__doc__ or "").splitlines() if line.count("|") == COLUMNS - 1]
    cells = [tuple(cell.strip() for cell in line[:3]) for line in lines if not line[0].strip().startswith("--")]
    return [
        (each, event, following)
        for phase, event, following in cells[1:]
        for each in (WAITING if phase == "either" else (phase,))
    ]


def diagram() -> str:
    """Return the picture as Mermaid draws it: an arrow for each pair of phases, with the events on it."""
    events: dict[tuple[str, str], list[str]] = {}
    for phase, event, following in rows():
        if phase != following:
            events.setdefault((phase, following), []).append(event.replace('"', "'"))
    arrows = [
        f"    {'[*]' if phase == START else phase} --> {'[*]' if following == END else following}: {' / '.join(each)}"
        for (phase, following), each in events.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def with_diagram(page: str) -> str:
    """Return the page with the picture that belongs there."""
    before, mark, rest = page.partition("```mermaid\nstateDiagram-v2\n")
    _, end, after = rest.partition("```\n")
    if not mark or not end:
        raise ValueError("the page has no state diagram")
    return f"{before}{diagram()}\n{after}"


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text()))
