"""Draw the rollouts of docs/rehearsal.md: `uv run python docs/pictures/rehearsal.py`."""

import sys
from pathlib import Path

from iot_jobs_simulator.rehearsal import command

PICTURES = Path(__file__).parent
EXAMPLES = PICTURES.parent / "rehearsal"
REGIONS = ("europe", "america", "asia")


def main() -> int:
    """Write the picture beside this program."""
    jobs = [word for region in REGIONS for word in ("--job", str(EXAMPLES / f"night-{region}.json"))]
    more = ["--build", "good", "--at", "2026-12-06T20:00", "--plot", str(PICTURES / "rehearsal.svg")]
    return command.main([str(EXAMPLES / "fleet.toml"), *jobs, *more])


if __name__ == "__main__":
    sys.exit(main())
